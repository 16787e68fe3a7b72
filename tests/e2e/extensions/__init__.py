"""The tests of the extensions, a folder each: they go with it."""
