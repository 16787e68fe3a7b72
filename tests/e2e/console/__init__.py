"""Of the room `console`."""
