"""Tests of the extensions, a folder each: it needs the libraries of its own extension only."""
