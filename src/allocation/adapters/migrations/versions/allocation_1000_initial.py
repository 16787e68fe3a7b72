"""The first schema: users, coupons, the registration log and the read model."""

import sqlalchemy as sa
from alembic import op

revision = "allocation_1000"
down_revision = None


def upgrade() -> None:
    _create_users()
    _create_coupons()


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("email_key", sa.String(), nullable=False),
        sa.Column("email_undeliverable", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email_key", name="uq_users_email_key"),
    )
    op.create_table(
        "registration_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column(
            "logged_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name="pk_registration_log"),
    )
    op.create_table(
        "user_view",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("email_undeliverable", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("coupon_code", sa.String()),
        sa.Column("coupon_state", sa.String()),
        sa.PrimaryKeyConstraint("user_id", name="pk_user_view"),
    )
    op.create_index("ix_user_view_email_user_id", "user_view", ["email", "user_id"])


def _create_coupons() -> None:
    op.create_table(
        "coupon_batches",
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("was_exhausted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("reference", name="pk_coupon_batches"),
        sa.CheckConstraint(
            "remaining BETWEEN 0 AND quantity", name=op.f("ck_coupon_batches_remaining")
        ),
    )
    op.create_table(
        "coupons",
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("batch_reference", sa.String(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(), server_default="allocated", nullable=False),
        sa.Column("redemption_id", sa.Uuid()),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("code", name="pk_coupons"),
        sa.ForeignKeyConstraint(
            ["batch_reference"], ["coupon_batches.reference"], name="fk_coupons_batch_reference"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_coupons_user_id"),
        sa.UniqueConstraint("user_id", name="uq_coupons_user_id"),
    )
