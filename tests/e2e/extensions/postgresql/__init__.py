"""Of the extension `postgresql`."""
