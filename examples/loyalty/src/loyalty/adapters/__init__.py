"""How the service reaches its database, and the outside."""
