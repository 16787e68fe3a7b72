"""Of the extension `operations`."""
