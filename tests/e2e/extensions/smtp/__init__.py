"""Of the extension `smtp`."""
