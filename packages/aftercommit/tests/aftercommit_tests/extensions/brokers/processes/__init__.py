"""Consumers and publishers as real processes."""
