"""Of the room `playground`."""
