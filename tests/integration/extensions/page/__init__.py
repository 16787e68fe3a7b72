"""Tests of the extension page, in one process, on each database."""
