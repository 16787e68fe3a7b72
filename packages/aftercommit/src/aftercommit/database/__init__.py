"""The database: its engine and transactions, one writer on SQLite, migrations of any history."""
