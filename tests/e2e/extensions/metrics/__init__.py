"""Of the extension `metrics`."""
