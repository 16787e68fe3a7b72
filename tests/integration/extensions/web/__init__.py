"""Tests of the extension web, in one process, on each database."""
