"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "checkout_0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "stocks",
        sa.Column("article", sa.String(), nullable=False),
        sa.Column("free", sa.Integer(), nullable=False),
        sa.Column("shipped", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("article", name="pk_stocks"),
    )
    op.create_table(
        "checkouts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("article", sa.String(), nullable=False),
        sa.Column("pieces", sa.Integer(), nullable=False),
        sa.Column("card", sa.String(), nullable=False),
        sa.Column("is_reserved", sa.Boolean(), nullable=False),
        sa.Column("is_shipping", sa.Boolean(), nullable=False),
        sa.Column("is_refunded", sa.Boolean(), nullable=False),
        sa.Column("payment", sa.String(), nullable=False),
        sa.Column("cancelled", sa.String()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_checkouts"),
    )
