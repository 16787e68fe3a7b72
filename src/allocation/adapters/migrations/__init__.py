"""The history of the schema, for Alembic. `versions` has a file for each revision."""
