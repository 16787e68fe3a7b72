"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "loyalty_0001"
down_revision = None


def upgrade() -> None:
    """Create the tables, and the rows with the counts."""
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
    )
    op.create_table(
        "credits",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("occasion", sa.String(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_credits_account_id_accounts"
        ),
        sa.PrimaryKeyConstraint("account_id", "id", name="pk_credits"),
    )
    statistics = op.create_table(
        "statistics",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_statistics"),
    )
    op.bulk_insert(statistics, [{"name": "points", "count": 0}, {"name": "rewards", "count": 0}])
