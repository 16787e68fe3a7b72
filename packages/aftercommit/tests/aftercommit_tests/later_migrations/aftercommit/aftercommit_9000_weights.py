"""Deliveries have weights."""

import sqlalchemy as sa
from aftercommit_tests.later_schema import NOW
from alembic import op

revision = "aftercommit_9000"
down_revision = NOW["aftercommit"]


def upgrade() -> None:
    op.add_column(
        "aftercommit_deliveries",
        sa.Column("weight", sa.Integer, server_default="1", nullable=False),
    )
