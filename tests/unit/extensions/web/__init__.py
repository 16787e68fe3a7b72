"""Tests of the extension web that need no database."""
