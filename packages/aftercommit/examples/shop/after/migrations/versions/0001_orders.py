"""Articles and orders."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "articles",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("in_stock", sa.Integer(), nullable=False),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("article", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
    )
