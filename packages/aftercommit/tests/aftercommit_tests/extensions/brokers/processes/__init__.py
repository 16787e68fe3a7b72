"""Consumers as real processes."""
