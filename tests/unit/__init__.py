"""Unit tests: the domain, and handlers called directly, without a database or a file."""
