"""The room web: what its entrypoint looks up in the database."""
