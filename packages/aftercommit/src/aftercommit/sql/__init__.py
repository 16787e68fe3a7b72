"""The outbox, the inbox and the unit of work in a database, with SQLAlchemy."""
