"""Tests of the extension in real processes."""
