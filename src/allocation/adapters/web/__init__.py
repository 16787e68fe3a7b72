"""The room web: the application over HTTP. Here is what it looks up in the database."""
