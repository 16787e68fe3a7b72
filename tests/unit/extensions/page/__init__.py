"""Tests of the extension page that need no database."""
