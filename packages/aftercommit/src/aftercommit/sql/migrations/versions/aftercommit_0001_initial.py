"""The first schema: whose it is, commands, events, deliveries, failures and pauses."""

import sqlalchemy as sa
from alembic import op

revision = "aftercommit_0001"
down_revision = None

HAS_ID = sa.text("message_id IS NOT NULL")
PARKED = sa.text("parked_at IS NOT NULL")
PENDING = sa.text("parked_at IS NULL AND completed_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "aftercommit_application",
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_aftercommit_application"),
    )
    _create_commands()
    _create_events()
    _create_deliveries()
    _create_failures()
    _create_handler_pauses()


def _create_commands() -> None:
    op.create_table(
        "aftercommit_commands",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("message_id", sa.String()),
        sa.Column("fingerprint", sa.String()),
        sa.Column("correlation_id", sa.Uuid(), nullable=False),
        sa.Column("causation_id", sa.Uuid()),
        sa.Column("accepted_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aftercommit_commands"),
    )
    for name in ("accepted_at", "correlation_id"):
        op.create_index(f"ix_aftercommit_commands_{name}", "aftercommit_commands", [name])
    op.create_index(
        "uq_aftercommit_commands_source",
        "aftercommit_commands",
        ["source", "message_id"],
        unique=True,
        sqlite_where=HAS_ID,
        postgresql_where=HAS_ID,
    )


def _create_events() -> None:
    op.create_table(
        "aftercommit_events",
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
        sa.PrimaryKeyConstraint("id", name="pk_aftercommit_events"),
    )
    for name in ("correlation_id", "recorded_at", "subject"):
        op.create_index(f"ix_aftercommit_events_{name}", "aftercommit_events", [name])


def _create_deliveries() -> None:
    op.create_table(
        "aftercommit_deliveries",
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
        sa.PrimaryKeyConstraint("event_id", "handler", name="pk_aftercommit_deliveries"),
        sa.ForeignKeyConstraint(
            ["event_id"], ["aftercommit_events.id"], name="fk_aftercommit_deliveries_event_id"
        ),
    )
    for columns, rows in ((["replay", "available_at"], PENDING), (["parked_at"], PARKED)):
        name = f"ix_aftercommit_deliveries_{columns[-1]}"
        op.create_index(
            name, "aftercommit_deliveries", columns, sqlite_where=rows, postgresql_where=rows
        )


def _create_failures() -> None:
    op.create_table(
        "aftercommit_failures",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.Double(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "handler", "token", name="pk_aftercommit_failures"),
        sa.ForeignKeyConstraint(
            ["event_id", "handler"],
            ["aftercommit_deliveries.event_id", "aftercommit_deliveries.handler"],
            name="fk_aftercommit_failures_event_id",
            ondelete="CASCADE",
        ),
    )


def _create_handler_pauses() -> None:
    op.create_table(
        "aftercommit_handler_pauses",
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=False),
        sa.Column("paused_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("handler", name="pk_aftercommit_handler_pauses"),
    )
