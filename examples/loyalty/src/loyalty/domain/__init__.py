"""What the service decides. It imports the standard library alone."""
