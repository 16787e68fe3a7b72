"""What takes time is measured here; what must not change is tested."""
