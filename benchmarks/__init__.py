"""Measures what takes time; what must not change is tested elsewhere."""
