"""The first schema: users, coupons, the read model, commands, events and deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "allocation_0001"
down_revision = None

HAS_ID = sa.text("message_id IS NOT NULL")
PARKED = sa.text("parked_at IS NOT NULL")
PENDING = sa.text("parked_at IS NULL AND completed_at IS NULL")


def upgrade() -> None:
    _create_users()
    _create_coupons()
    _create_commands()
    _create_events()
    _create_deliveries()


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("email_key", sa.String(), nullable=False),
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
        sa.Column("coupon_code", sa.String()),
        sa.PrimaryKeyConstraint("user_id", name="pk_user_view"),
    )


def _create_coupons() -> None:
    op.create_table(
        "coupon_batches",
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("exhaustion_notified_on", sa.Date()),
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
        sa.PrimaryKeyConstraint("code", name="pk_coupons"),
        sa.ForeignKeyConstraint(
            ["batch_reference"], ["coupon_batches.reference"], name="fk_coupons_batch_reference"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_coupons_user_id"),
        sa.UniqueConstraint("user_id", name="uq_coupons_user_id"),
    )


def _create_commands() -> None:
    op.create_table(
        "commands",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("message_id", sa.String()),
        sa.Column("fingerprint", sa.String()),
        sa.Column("correlation_id", sa.Uuid(), nullable=False),
        sa.Column("accepted_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_commands"),
    )
    for name in ("accepted_at", "correlation_id"):
        op.create_index(f"ix_commands_{name}", "commands", [name])
    op.create_index(
        "uq_commands_source",
        "commands",
        ["source", "message_id"],
        unique=True,
        sqlite_where=HAS_ID,
        postgresql_where=HAS_ID,
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("schema_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("correlation_id", sa.Uuid(), nullable=False),
        sa.Column("causation_id", sa.Uuid(), nullable=False),
        sa.Column("handler", sa.String()),
        sa.Column("depth", sa.Integer(), server_default="1", nullable=False),
        sa.Column("traceparent", sa.String()),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    for name in ("correlation_id", "recorded_at", "subject"):
        op.create_index(f"ix_events_{name}", "events", [name])


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("unavailable_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("available_at", sa.Double()),
        sa.Column("replay", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("previous_owner", sa.String()),
        sa.Column("last_error", sa.Text()),
        sa.Column("parked_at", sa.Double()),
        sa.Column("completed_at", sa.Double()),
        sa.Column("discarded_at", sa.Double()),
        sa.Column("duration_seconds", sa.Double()),
        sa.PrimaryKeyConstraint("event_id", "handler", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_deliveries_event_id"),
    )
    for columns, rows in ((["replay", "available_at"], PENDING), (["parked_at"], PARKED)):
        name = f"ix_deliveries_{columns[-1]}"
        op.create_index(name, "deliveries", columns, sqlite_where=rows, postgresql_where=rows)
    op.create_table(
        "failures",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.Double(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "handler", "token", name="pk_failures"),
        sa.ForeignKeyConstraint(
            ["event_id", "handler"],
            ["deliveries.event_id", "deliveries.handler"],
            name="fk_failures_event_id",
            ondelete="CASCADE",
        ),
    )
