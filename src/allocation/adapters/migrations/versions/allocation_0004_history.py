"""History: a delivery that is done stays, with its failures; every command leaves a row.

Processes of the version before go on beside new ones: to them, what is done is never due, and the
inbox is still there: a view of the commands.
"""

import sqlalchemy as sa
from alembic import op

revision = "allocation_0004"
down_revision = "allocation_0003"

PARKED = sa.text("parked_at IS NOT NULL")
PENDING = sa.text("parked_at IS NULL AND finished_at IS NULL")
HAS_ID = sa.text("message_id IS NOT NULL")


def upgrade() -> None:
    _add_columns()
    _make_commands()
    op.create_table(
        "failures",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.Double(), nullable=False),
        sa.Column("process", sa.String()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "handler", "token", name="pk_failures"),
        sa.ForeignKeyConstraint(
            ["event_id", "handler"],
            ["deliveries.event_id", "deliveries.handler"],
            name="fk_failures_event_id",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "replays",
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("after", sa.Double(), nullable=False),
        sa.Column("after_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("handler", name="pk_replays"),
    )


def _add_columns() -> None:
    for name in ("handler", "traceparent"):
        op.add_column("events", sa.Column(name, sa.String()))
    for name in ("correlation_id", "recorded_at", "subject"):
        op.create_index(f"ix_events_{name}", "events", [name])
    op.drop_index("ix_deliveries_due_at", "deliveries")
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.alter_column("due_at", nullable=True)
        deliveries.add_column(
            sa.Column("replay", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        deliveries.add_column(sa.Column("process", sa.String()))
        deliveries.add_column(sa.Column("lost_by", sa.String()))
        deliveries.add_column(sa.Column("finished_at", sa.Double()))
        deliveries.add_column(sa.Column("seconds", sa.Double()))
    for columns, rows in ((["replay", "due_at"], PENDING), (["parked_at"], PARKED)):
        name = f"ix_deliveries_{columns[-1]}"
        op.create_index(name, "deliveries", columns, sqlite_where=rows, postgresql_where=rows)


def _make_commands() -> None:
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
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    new_id = "gen_random_uuid()" if is_postgresql else "lower(hex(randomblob(16)))"
    insert = (
        "INSERT INTO commands (id, type, source, message_id, correlation_id, accepted_at)"
        f" SELECT {new_id}, 'unknown', {{0}}source, {{0}}message_id, {new_id}, {{0}}received_at"
    )
    op.execute(insert.format("") + " FROM inbox")  # which commands these were was not noted
    op.drop_table("inbox")
    op.execute(
        "CREATE VIEW inbox AS SELECT source, message_id, accepted_at AS received_at"
        " FROM commands WHERE message_id IS NOT NULL"
    )
    for event, statement in (
        ("INSERT", insert.format("NEW.")),
        (
            "DELETE",
            "DELETE FROM commands WHERE (source, message_id) = (OLD.source, OLD.message_id)",
        ),
    ):
        name = f"inbox_{event.lower()}"
        op.execute(
            f"CREATE RULE {name} AS ON {event} TO inbox DO INSTEAD {statement}"
            if is_postgresql
            else f"CREATE TRIGGER {name} INSTEAD OF {event} ON inbox BEGIN {statement}; END"
        )
