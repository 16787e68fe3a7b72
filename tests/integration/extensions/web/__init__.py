"""The application over HTTP, for its tests: those of the extension are in its package."""
