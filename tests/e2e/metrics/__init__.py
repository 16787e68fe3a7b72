"""Of the room `metrics`."""
