"""The room "metrics": what is owed, and whether the database is well, read for those who watch."""
