"""The real HTTP server, by a client, by a proxy, and by those who mean no good."""
