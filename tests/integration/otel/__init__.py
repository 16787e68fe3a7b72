"""Of the room `otel`."""
