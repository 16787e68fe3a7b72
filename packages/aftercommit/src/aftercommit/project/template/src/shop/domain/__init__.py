"""The rules of the service. It imports only the standard library."""
