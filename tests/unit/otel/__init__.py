"""The room "otel", without a database."""
