"""Users have nicknames: those that are there have their names."""

import sqlalchemy as sa
from aftercommit_tests.later_schema import before
from alembic import op

from allocation.adapters.migrations import HISTORY

revision = "allocation_9000"
down_revision = before(HISTORY)


def upgrade() -> None:
    op.add_column("users", sa.Column("nickname", sa.String))
    op.add_column("users", sa.Column("level", sa.Integer, server_default="1", nullable=False))
    op.execute("UPDATE users SET nickname = name")
    op.create_table("nicknames", sa.Column("nickname", sa.String, primary_key=True))
