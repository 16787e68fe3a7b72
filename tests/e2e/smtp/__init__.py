"""Of the room `smtp`."""
