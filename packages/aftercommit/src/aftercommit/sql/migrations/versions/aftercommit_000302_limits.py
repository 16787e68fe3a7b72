"""Limits: how many deliveries of some handlers run at once, and begin in a minute."""

import sqlalchemy as sa
from alembic import op

revision = "aftercommit_000302"
down_revision = "aftercommit_000301"

RUNNING = (
    "limit_name IS NOT NULL AND owner IS NOT NULL AND parked_at IS NULL AND completed_at IS NULL"
)


def upgrade() -> None:
    op.create_table(
        "aftercommit_limits",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("at_once", sa.Integer()),
        sa.Column("per_minute", sa.Integer()),
        sa.Column("tat", sa.Double(), server_default="0", nullable=False),
        sa.Column("claims", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("claimed_at", sa.Double()),
        sa.PrimaryKeyConstraint("name", name="pk_aftercommit_limits"),
    )
    op.add_column("aftercommit_deliveries", sa.Column("limit_name", sa.String()))
    op.create_index(  # it has no rows yet
        "ix_aftercommit_deliveries_limit_name",
        "aftercommit_deliveries",
        ["limit_name", "available_at"],
        sqlite_where=sa.text(RUNNING),
        postgresql_where=sa.text(RUNNING),
    )
