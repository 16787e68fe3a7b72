"""Integration tests: each adapter against the real thing; the fakes pass the same suites."""
