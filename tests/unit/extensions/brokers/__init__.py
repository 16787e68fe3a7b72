"""Of the extension `brokers`."""
