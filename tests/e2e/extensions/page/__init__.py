"""Tests of the extension page with a real browser."""
