"""The history shows the end of each claim, and each decision of an operator has a row."""

import sqlalchemy as sa
from alembic import op

revision = "aftercommit_0002"
down_revision = "aftercommit_0001"

LEASE_EXPIRED = "it had not finished when its lease ended"


def upgrade() -> None:
    # processes of the previous version go on, and write failures without it
    op.add_column(
        "aftercommit_failures",
        sa.Column("outcome", sa.String(), server_default="failed", nullable=False),
    )
    op.execute(
        f"UPDATE aftercommit_failures SET outcome = 'lease_expired' WHERE error = '{LEASE_EXPIRED}'"
    )
    op.create_table(
        "aftercommit_decisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("decided_at", sa.Double(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("event_id", sa.Uuid()),
        sa.Column("handler", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_aftercommit_decisions"),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["aftercommit_events.id"],
            name="fk_aftercommit_decisions_event_id",
            ondelete="CASCADE",
        ),
    )
    for columns in (["decided_at"], ["event_id", "handler"]):
        name = f"ix_aftercommit_decisions_{'_'.join(columns)}"
        op.create_index(name, "aftercommit_decisions", columns)
