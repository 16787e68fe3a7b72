"""Run by Alembic: migrates in the transaction of the connection that `revisions.py` passes on."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
