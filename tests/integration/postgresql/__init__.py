"""Of the room `postgresql`."""
