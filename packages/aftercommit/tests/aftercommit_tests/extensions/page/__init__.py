"""Tests of the extension page without a browser."""
