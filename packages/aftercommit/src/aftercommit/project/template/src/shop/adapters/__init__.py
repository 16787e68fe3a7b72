"""How the service reaches its database, and external systems."""
