"""Tests of the extension web with the real server."""
