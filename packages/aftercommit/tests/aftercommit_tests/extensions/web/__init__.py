"""Tests of the extension web: in one process, where requests are calls."""
