"""The real HTTP server, for tests of the application: those of the extension are in its package."""
