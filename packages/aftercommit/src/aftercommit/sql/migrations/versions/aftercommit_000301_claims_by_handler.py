"""An index finds the deliveries that claims can run; a schema belongs to one application only."""

import sqlalchemy as sa
from alembic import op

revision = "aftercommit_000301"
down_revision = "aftercommit_0003"

CLAIMABLE = "parked_at IS NULL AND completed_at IS NULL AND NOT blocked"
SQLITE_CLAIMABLE = "parked_at IS NULL AND completed_at IS NULL AND blocked = 0"


def upgrade() -> None:
    op.add_column(
        "aftercommit_deliveries",
        sa.Column("schema_version", sa.Integer(), server_default="1", nullable=False),
    )
    op.create_index(  # the one on (replay, available_at) is dropped when no process claims by it
        "ix_aftercommit_deliveries_handler",
        "aftercommit_deliveries",
        ["handler", "schema_version", "replay", "available_at"],
        sqlite_where=sa.text(SQLITE_CLAIMABLE),
        postgresql_where=sa.text(CLAIMABLE),
    )
    op.add_column(
        "aftercommit_application",
        sa.Column("is_the_only_one", sa.Boolean(), server_default=sa.true(), nullable=False),
    )
    op.create_index(
        "uq_aftercommit_application_is_the_only_one",
        "aftercommit_application",
        ["is_the_only_one"],
        unique=True,
    )
