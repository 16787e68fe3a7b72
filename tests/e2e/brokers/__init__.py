"""Of the room `brokers`."""
