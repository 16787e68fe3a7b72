"""Of the extension `otel`."""
