"""Deliveries have weights."""

import sqlalchemy as sa
from alembic import op

from tests.project.later_schema import NOW

revision = "aftercommit_9000"
down_revision = NOW["aftercommit"]


def upgrade() -> None:
    op.add_column(
        "aftercommit_deliveries",
        sa.Column("weight", sa.Integer, server_default="1", nullable=False),
    )
