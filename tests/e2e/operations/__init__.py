"""Of the room `operations`."""
