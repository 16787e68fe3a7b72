"""How others reach the service."""
