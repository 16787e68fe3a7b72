"""Ordered handlers: events have a position, and deliveries a lane."""

import sqlalchemy as sa
from alembic import op

revision = "aftercommit_0003"
down_revision = "aftercommit_0002"

INDEX = "ix_aftercommit_deliveries_available_at"
IN_LANE = "lane IS NOT NULL AND completed_at IS NULL"
CLAIMABLE = "parked_at IS NULL AND completed_at IS NULL AND NOT blocked"
SQLITE_CLAIMABLE = "parked_at IS NULL AND completed_at IS NULL AND blocked = 0"

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
UPDATE aftercommit_events SET position = ordered.position FROM (
    SELECT id, row_number() OVER (ORDER BY recorded_at, ctid) AS position FROM aftercommit_events
) AS ordered WHERE aftercommit_events.id = ordered.id;
CREATE SEQUENCE aftercommit_events_position OWNED BY aftercommit_events.position;
ALTER TABLE aftercommit_events
    ALTER COLUMN position SET DEFAULT nextval('aftercommit_events_position');
SELECT setval('aftercommit_events_position', max(position))
FROM aftercommit_events HAVING max(position) IS NOT NULL
"""


def upgrade() -> None:
    op.add_column("aftercommit_events", sa.Column("position", sa.BigInteger()))
    if op.get_bind().dialect.name == "sqlite":
        op.execute("UPDATE aftercommit_events SET position = rowid")
        op.execute(SQLITE_POSITIONS)
    else:
        for statement in POSTGRESQL_POSITIONS.split(";\n"):
            op.execute(statement)
    op.add_column("aftercommit_deliveries", sa.Column("lane", sa.String()))
    op.add_column("aftercommit_deliveries", sa.Column("position", sa.BigInteger()))
    op.add_column(
        "aftercommit_deliveries",
        sa.Column("blocked", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.drop_index(INDEX, "aftercommit_deliveries")
    _create_index(INDEX, ["replay", "available_at"], CLAIMABLE, SQLITE_CLAIMABLE)
    _create_index("ix_aftercommit_deliveries_lane", ["lane", "position"], IN_LANE, IN_LANE)


def _create_index(name: str, columns: list[str], rows: str, rows_on_sqlite: str) -> None:
    op.create_index(
        name,
        "aftercommit_deliveries",
        columns,
        sqlite_where=sa.text(rows_on_sqlite),
        postgresql_where=sa.text(rows),
    )
