"""The API of the application over HTTP."""
