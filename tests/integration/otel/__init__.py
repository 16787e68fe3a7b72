"""The room "otel", in the whole application."""
