"""Coupons are redeemed or expire, handlers are paused, and the outside's answers have causes.

Addresses that do not exist are marked. The list of users is read in the order of an index.
"""

import sqlalchemy as sa
from alembic import op

revision = "allocation_0002"
down_revision = "allocation_0001"


def upgrade() -> None:
    op.create_index("ix_user_view_email_user_id", "user_view", ["email", "user_id"])
    _redeem_coupons()
    for table in ("users", "user_view"):
        mark: sa.Column[bool] = sa.Column(
            "email_undeliverable", sa.Boolean(), server_default=sa.false(), nullable=False
        )
        op.add_column(table, mark)
    op.add_column("commands", sa.Column("causation_id", sa.Uuid()))
    op.create_table(
        "handler_pauses",
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=False),
        sa.Column("paused_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("handler", name="pk_handler_pauses"),
    )


def _redeem_coupons() -> None:
    """Let the coupons that are there, and those that old processes allocate, be redeemable."""
    state = sa.Column("state", sa.String(), server_default="allocated", nullable=False)
    op.add_column("coupons", state)
    op.add_column("coupons", sa.Column("redemption_id", sa.Uuid()))
    op.add_column("coupons", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("user_view", sa.Column("coupon_state", sa.String()))
    op.execute("UPDATE user_view SET coupon_state = 'allocated' WHERE coupon_code IS NOT NULL")
