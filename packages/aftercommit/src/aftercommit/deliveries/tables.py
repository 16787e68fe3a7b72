"""The engine's tables: commands, events, deliveries, their history, pauses, limits, schedules.

Migrations are the only source of the schema; a test checks that they and these tables agree. The
application has its own. Times that are compared are seconds since 1970, by the database's clock.

What the columns of a delivery mean for its life:

- `attempts` counts: a claim adds one, and a claim that is given back before its handler has begun
  takes it off. `unavailable_attempts` found a resource unavailable, and only make the delay longer.
- `token` is the fencing token. It grows whenever a claim is made or given back, or is ended by
  somebody else. So a process that finds its own token in the row still has its claim.
- `available_at` is the end of the lease, if there is an `owner`, otherwise the due time. While the
  handler is paused, it is a `PAUSE` later. It is empty if the delivery is done or discarded.
- `owner` is the process that has the claim, or has done it; `previous_owner` lost it to that claim.
- `last_error` tells why the last attempt has failed, or why it is parked.
- `parked_at` is set while it waits for an operator; nobody claims it.
- `completed_at` is set when it is done or discarded, `discarded_at` in the second case only.
- `duration_seconds` is how long the successful attempt took, from its claim on.
- `replay` says that it was (or is) done because of a replay: all others are claimed first.
- `lane`, `position` and `blocked` are for ordered handlers: see `lanes.py`.
- `schema_version` is that of the event. It never changes, and claims go by it.
- `limit_name` is the limit by which it was claimed, if its handler has one: while it is running, it
  takes one of the places of that limit.
- `give_up_at` is when its handler is given up, if an `Otherwise` says so. `given_up` is why it was:
  from then on, `attempts` are those of what happens instead, and `last_error` is kept.
"""

from typing import Any

import sqlalchemy as sa

from aftercommit.database.metadata import UtcDateTime, metadata
from aftercommit.database.rare import rare

commands = sa.Table(
    "aftercommit_commands",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("message_id", sa.String),
    sa.Column("fingerprint", sa.String),
    sa.Column("correlation_id", sa.Uuid, nullable=False, index=True),
    sa.Column("causation_id", sa.Uuid),  # the event, if its source is a handler
    sa.Column("accepted_at", sa.Double, nullable=False, index=True),
)
_HAS_ID = commands.c.message_id.is_not(None)
sa.Index(
    "uq_aftercommit_commands_source",
    commands.c.source,
    commands.c.message_id,
    unique=True,
    sqlite_where=_HAS_ID,
    info={"postgresql_where": _HAS_ID},
)

events = sa.Table(
    "aftercommit_events",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("subject", sa.String, nullable=False, index=True),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("correlation_id", sa.Uuid, nullable=False, index=True),
    sa.Column("causation_id", sa.Uuid, nullable=False),
    sa.Column("handler", sa.String),
    sa.Column("depth", sa.Integer, nullable=False, server_default="1"),
    sa.Column("traceparent", sa.String),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.Double, nullable=False, index=True),
    # the database fills it in: PostgreSQL with a sequence, SQLite with a trigger; see the migration
    sa.Column("position", sa.BigInteger),
)
# as text: a value that the driver cannot read would fail every claim
_RAW = [sa.cast(column, sa.Text).label(column.name) for column in events.c if column.name != "id"]
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
RAW_EVENTS = sa.select(events.c.id, *_RAW).where(rare(events.c.id.in_(_IDS)))

deliveries = sa.Table(  # see above; `states.py` has all that can happen to a row
    "aftercommit_deliveries",
    metadata,
    sa.Column("event_id", sa.Uuid, sa.ForeignKey(events.c.id), primary_key=True),
    sa.Column("handler", sa.String, primary_key=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("unavailable_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("available_at", sa.Double),  # when it is done, never
    sa.Column("replay", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("owner", sa.String),  # the process that runs it, or has done it
    sa.Column("previous_owner", sa.String),  # the process that lost it when its lease ended
    sa.Column("last_error", sa.Text),
    sa.Column("parked_at", sa.Double),
    sa.Column("completed_at", sa.Double),
    sa.Column("discarded_at", sa.Double),  # completed by an operator, not by its handler
    sa.Column("duration_seconds", sa.Double),
    sa.Column("lane", sa.String),  # HANDLER:KEY, if the handler is ordered: see `lanes.py`
    sa.Column("position", sa.BigInteger),  # in its lane: that of the event
    sa.Column("blocked", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("schema_version", sa.Integer, nullable=False),  # the event's; claims look at it
    sa.Column("limit_name", sa.String),  # by which it was last claimed, if any
    sa.Column("give_up_at", sa.Double),  # if its handler is given up after a time
    sa.Column("given_up", sa.String),  # why, if what happens instead runs, or has run
)
PARKED, FINISHED = deliveries.c.parked_at.is_not(None), deliveries.c.completed_at.is_not(None)
PENDING = sa.and_(~PARKED, ~FINISHED)
IN_LANE = sa.and_(deliveries.c.lane.is_not(None), ~FINISHED)
CLAIMABLE = sa.and_(PENDING, ~deliveries.c.blocked)
BLOCKED = sa.and_(IN_LANE, ~PARKED, deliveries.c.blocked)  # an earlier one in its lane is not done
sa.Index(  # for claims: deliveries of other handlers, or for newer processes, cost nothing
    "ix_aftercommit_deliveries_handler",
    deliveries.c.handler,
    deliveries.c.schema_version,
    deliveries.c.replay,
    deliveries.c.available_at,
    sqlite_where=CLAIMABLE,
    info={"postgresql_where": CLAIMABLE},
)
sa.Index(  # for lists, and for how late the first one is
    "ix_aftercommit_deliveries_available_at",
    deliveries.c.replay,
    deliveries.c.available_at,
    sqlite_where=CLAIMABLE,
    info={"postgresql_where": CLAIMABLE},
)
sa.Index(
    "ix_aftercommit_deliveries_lane",
    deliveries.c.lane,
    deliveries.c.position,
    sqlite_where=IN_LANE,
    info={"postgresql_where": IN_LANE},
)
sa.Index(None, deliveries.c.parked_at, sqlite_where=PARKED, info={"postgresql_where": PARKED})
RUNNING = sa.and_(deliveries.c.limit_name.is_not(None), deliveries.c.owner.is_not(None), PENDING)
sa.Index(  # of limited handlers only; those whose lease has not ended are counted
    "ix_aftercommit_deliveries_limit_name",
    deliveries.c.limit_name,
    deliveries.c.available_at,
    sqlite_where=RUNNING,
    info={"postgresql_where": RUNNING},
)

handler_pauses = sa.Table(
    "aftercommit_handler_pauses",
    metadata,
    sa.Column("handler", sa.String, primary_key=True),
    sa.Column("paused_at", sa.Double, nullable=False),
    sa.Column("paused_by", sa.String, nullable=False),
)

limits = sa.Table(  # what all processes share of a limit; its numbers are in the program
    "aftercommit_limits",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("at_once", sa.Integer),  # an operator's, which override those of the program
    sa.Column("per_minute", sa.Integer),
    sa.Column("tat", sa.Double, nullable=False, server_default="0"),  # see `limits.py`
    sa.Column("claims", sa.BigInteger, nullable=False, server_default="0"),  # so far
    sa.Column("claimed_at", sa.Double),  # the last claim's
)

schedules = sa.Table(  # the last time of each; its rule is in the program
    "aftercommit_schedules",
    metadata,
    sa.Column("name", sa.String, primary_key=True),  # its first one, if it was renamed
    sa.Column("last_at", sa.Double, nullable=False),  # or when it began, if none has come yet
    sa.Column("missed", sa.Integer, nullable=False, server_default="0"),  # directly before that
    sa.Column("correlation_id", sa.Uuid),  # of the last event, even if that was pruned
)

failures = sa.Table(  # the claims whose handler has not succeeded, each with its end
    "aftercommit_failures",
    metadata,
    sa.Column("event_id", sa.Uuid, primary_key=True),
    sa.Column("handler", sa.String, primary_key=True),
    sa.Column("token", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failed_at", sa.Double, nullable=False),
    sa.Column("owner", sa.String),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("outcome", sa.String, nullable=False, server_default="failed"),
    sa.ForeignKeyConstraint(
        ["event_id", "handler"], [deliveries.c.event_id, deliveries.c.handler], ondelete="CASCADE"
    ),
)

decisions = sa.Table(  # by operators; each is about an event, a handler, or both
    "aftercommit_decisions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("decided_at", sa.Double, nullable=False, index=True),
    sa.Column("decision", sa.String, nullable=False),
    sa.Column("decided_by", sa.String, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("event_id", sa.Uuid, sa.ForeignKey(events.c.id, ondelete="CASCADE")),
    sa.Column("handler", sa.String),
)
sa.Index(None, decisions.c.event_id, decisions.c.handler)
