"""Things have nicknames: those that are there have their names."""

import sqlalchemy as sa
from aftercommit_tests.later_schema import NOW
from alembic import op

revision = "things_9000"
down_revision = NOW["things"]


def upgrade() -> None:
    op.add_column("things", sa.Column("nickname", sa.String))
    op.add_column("things", sa.Column("level", sa.Integer, server_default="1", nullable=False))
    op.execute("UPDATE things SET nickname = name")
    op.create_table("nicknames", sa.Column("nickname", sa.String, primary_key=True))
