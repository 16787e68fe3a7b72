"""Run by Alembic: migrates in the transaction of the connection that `history.py` passes on."""

from alembic import context

context.configure(**context.config.attributes)
context.run_migrations()
