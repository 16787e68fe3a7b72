"""Of the extension `playground`."""
