"""The engine's tables: commands, events, deliveries, their history, pauses, limits, schedules."""

import sqlalchemy as sa
from alembic import op

revision = "aftercommit_1000"
down_revision = None

HAS_ID = "message_id IS NOT NULL"
PARKED = "parked_at IS NOT NULL"
PENDING = "parked_at IS NULL AND completed_at IS NULL"
CLAIMABLE = f"{PENDING} AND NOT blocked"
SQLITE_CLAIMABLE = f"{PENDING} AND blocked = 0"
IN_LANE = "lane IS NOT NULL AND completed_at IS NULL"
RUNNING = f"limit_name IS NOT NULL AND owner IS NOT NULL AND {PENDING}"

# the time, so that it grows even if all events were pruned; but at least one more than before
SQLITE_POSITIONS = """
CREATE TRIGGER tr_aftercommit_events_position AFTER INSERT ON aftercommit_events
WHEN NEW.position IS NULL BEGIN
    UPDATE aftercommit_events SET position = max(
        CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
        1 + coalesce((
            SELECT position FROM aftercommit_events WHERE rowid < NEW.rowid
            ORDER BY rowid DESC LIMIT 1
        ), 0)
    ) WHERE rowid = NEW.rowid;
END
"""
POSTGRESQL_POSITIONS = """
CREATE SEQUENCE aftercommit_events_position OWNED BY aftercommit_events.position;
ALTER TABLE aftercommit_events
    ALTER COLUMN position SET DEFAULT nextval('aftercommit_events_position')
"""


def upgrade() -> None:
    _create_application()
    _create_commands()
    _create_events()
    _create_deliveries()
    _create_failures()
    _create_decisions()
    _create_handler_pauses()
    _create_limits()
    _create_schedules()


def _create_application() -> None:
    op.create_table(
        "aftercommit_application",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("is_the_only_one", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_aftercommit_application"),
    )
    op.create_index(
        "uq_aftercommit_application_is_the_only_one",
        "aftercommit_application",
        ["is_the_only_one"],
        unique=True,
    )


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
        sqlite_where=sa.text(HAS_ID),
        postgresql_where=sa.text(HAS_ID),
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
        sa.Column("position", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_aftercommit_events"),
    )
    for name in ("correlation_id", "recorded_at", "subject"):
        op.create_index(f"ix_aftercommit_events_{name}", "aftercommit_events", [name])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    positions = [SQLITE_POSITIONS] if is_sqlite else POSTGRESQL_POSITIONS.split(";\n")
    for statement in positions:
        op.execute(statement)


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
        sa.Column("lane", sa.String()),
        sa.Column("position", sa.BigInteger()),
        sa.Column("blocked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("limit_name", sa.String()),
        sa.PrimaryKeyConstraint("event_id", "handler", name="pk_aftercommit_deliveries"),
        sa.ForeignKeyConstraint(
            ["event_id"], ["aftercommit_events.id"], name="fk_aftercommit_deliveries_event_id"
        ),
    )
    claimed_by = ["handler", "schema_version", "replay", "available_at"]
    for name, columns, rows, rows_on_sqlite in (
        ("handler", claimed_by, CLAIMABLE, SQLITE_CLAIMABLE),
        ("available_at", ["replay", "available_at"], CLAIMABLE, SQLITE_CLAIMABLE),
        ("lane", ["lane", "position"], IN_LANE, IN_LANE),
        ("parked_at", ["parked_at"], PARKED, PARKED),
        ("limit_name", ["limit_name", "available_at"], RUNNING, RUNNING),
    ):
        op.create_index(
            f"ix_aftercommit_deliveries_{name}",
            "aftercommit_deliveries",
            columns,
            sqlite_where=sa.text(rows_on_sqlite),
            postgresql_where=sa.text(rows),
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
        sa.Column("outcome", sa.String(), server_default="failed", nullable=False),
        sa.PrimaryKeyConstraint("event_id", "handler", "token", name="pk_aftercommit_failures"),
        sa.ForeignKeyConstraint(
            ["event_id", "handler"],
            ["aftercommit_deliveries.event_id", "aftercommit_deliveries.handler"],
            name="fk_aftercommit_failures_event_id",
            ondelete="CASCADE",
        ),
    )


def _create_decisions() -> None:
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


def _create_handler_pauses() -> None:
    op.create_table(
        "aftercommit_handler_pauses",
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=False),
        sa.Column("paused_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("handler", name="pk_aftercommit_handler_pauses"),
    )


def _create_limits() -> None:
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


def _create_schedules() -> None:
    op.create_table(
        "aftercommit_schedules",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("missed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("correlation_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("name", name="pk_aftercommit_schedules"),
    )
