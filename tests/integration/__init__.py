"""Integration tests: use cases on the real bus, and each adapter against the real thing."""
