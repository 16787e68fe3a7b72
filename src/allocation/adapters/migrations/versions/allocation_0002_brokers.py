"""Brokers: the inbox, and the schema version of each event."""

import sqlalchemy as sa
from alembic import op

revision = "allocation_0002"
down_revision = "allocation_0001"

events = sa.table("events", sa.column("type"), sa.column("schema_version"))


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("source", "message_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_received_at", "inbox", ["received_at"])
    # with a default, or SQLite would have to make the table anew, which foreign keys forbid
    version = sa.Column("schema_version", sa.Integer(), server_default="1", nullable=False)
    op.add_column("events", version)
    # until now, every user_registered had the name that is new in its version 2
    op.execute(sa.update(events).where(events.c.type == "user_registered").values(schema_version=2))
