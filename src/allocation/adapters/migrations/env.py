"""Run by Alembic: migrates on the connection, and in the transaction, that `schema.py` hands in."""

from alembic import context

from allocation.adapters.orm import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
