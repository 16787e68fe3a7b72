"""The latest commands, or events of an outbox, and what has become of all that they caused."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.deliveries.tables import CLAIMABLE, PARKED, commands, deliveries, events
from aftercommit.extensions.operations.causation_tree import Node
from aftercommit.extensions.operations.trace_queries import (
    begins_trace,
    newest_events,
    read_traces,
)

MAX_ROWS = 1000
MAX_EVENTS = 10_000  # the newest, among which events that no command has caused are searched
COUNTED = ("done", "given_up", "discarded", "pending", "parked", "scheduled")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedCommand:
    """A command from outside, a few words about its first event, and its deliveries by state.

    Or an event that an outbox has recorded: then `id` and `type` are those of the event.
    `scheduled` counts delayed deliveries before their first attempt. `pending` counts retrying,
    paused, due and running ones, and those whose lease has expired. `seconds` is the time from the
    command to the end of its last delivery, without replays; None while one is pending, or if there
    is none.
    """

    id: UUID
    type: str
    source: str
    correlation_id: UUID
    accepted_at: datetime
    about: str = ""
    done: int
    given_up: int = 0
    discarded: int = 0
    pending: int
    scheduled: int = 0
    parked: int
    seconds: float | None


async def latest_commands(
    database: Database, *, limit: int, failed_only: bool = False
) -> Sequence[AcceptedCommand]:
    """Return the latest commands from outside, newest first, with three statements.

    Events that no command has caused, because an outbox has recorded them in a session of the
    application, count like commands: those among the newest MAX_EVENTS or, of failed ones, all.

    Commands that handlers have returned are counted, with all their effects, to the command from
    outside. Failed ones have a parked delivery, or one that waits after a failure or a lost lease.
    """
    begun = _failed(database, limit) if failed_only else _newest(limit)
    statement = sa.select(begun).order_by(begun.c.accepted_at.desc()).limit(limit)
    async with database.read_transaction() as transaction:
        latest = (await transaction.execute(statement)).all()
        traces = {command.correlation_id for command in latest}
        ids = [command.id for command in latest]  # a caller may put any number into one trace
        # effects of the latest are recent; those of failed ones may be old, among many recent ones
        oldest = min((command.accepted_at for command in latest), default=0.0)
        options: dict[str, Any] = {"limit": None, "only_of": ids, "with_history": False}
        since = None if failed_only else oldest
        found = await read_traces(transaction, database, traces, since=since, **options)
    return summed_up(found.nodes, ids)


def _newest(limit: int) -> sa.Subquery:
    return _both(_COMMANDS, _events(newest_events(MAX_EVENTS)), limit)


def _failed(database: Database, limit: int) -> sa.Subquery:
    causes = _causes_of_trouble(database)
    accepted = _COMMANDS.where(commands.c.id.in_(causes))
    return _both(accepted, _events(events).where(events.c.id.in_(causes)), limit, by_index=False)


def _events(event: sa.FromClause) -> sa.Select[Any]:
    columns = event.c.id, event.c.correlation_id, event.c.recorded_at.label("accepted_at")
    return sa.select(*columns).where(begins_trace(event))


def _both(
    accepted: sa.Select[Any], recorded: sa.Select[Any], limit: int, *, by_index: bool = True
) -> sa.Subquery:
    """Return the latest of each kind.

    Through the index of times, all would be read to find the few that have failed.
    """
    latest = []
    for each in (accepted, recorded):
        time = each.selected_columns.accepted_at
        some = each.order_by(time.desc() if by_index else -time).limit(limit)
        latest.append(sa.select(some.subquery()))
    return sa.union_all(*latest).subquery()


def summed_up(nodes: Sequence[Node], commands: Sequence[UUID]) -> list[AcceptedCommand]:
    """Return a row for each command, or event; everything below it in the tree belongs to it."""
    trees: defaultdict[str, list[Node]] = defaultdict(list)
    roots: dict[str | None, str] = {}
    for node in nodes:  # depth first: each comes after its parent
        roots[node.id] = roots.get(node.parent, node.id)
        trees[roots[node.id]].append(node)
    return [_row(*trees[str(id_)]) for id_ in commands if str(id_) in trees]


def _row(command: Node, *below: Node) -> AcceptedCommand:
    is_event = command.kind == "event"
    each = [node for node in below if node.kind == "delivery"]
    counts = Counter(map(_counted_as, each))
    settled = [node.completed_at or node.parked_at for node in each if not node.replay]
    ended_at = None if counts["pending"] else max(filter(None, settled), default=None)
    began_at: Any = command.completed_at
    return AcceptedCommand(
        id=UUID(command.id),
        type=command.name,
        source="" if is_event else command.about,
        correlation_id=command.correlation_id,
        accepted_at=began_at,
        about=_about([command] if is_event else [n for n in below if n.parent == command.id]),
        seconds=(ended_at - began_at).total_seconds() if ended_at else None,
        **{state: counts[state] for state in COUNTED},
    )


def _counted_as(node: Node) -> str:
    return node.state if node.state in COUNTED else "pending"


def _about(events: Sequence[Node]) -> str:
    """Describe the first event of a command, and count the others of its kind."""
    for first in (event for event in events if event.about):
        more = sum(event.name == first.name for event in events) - 1
        return f"{first.about} and {more} more" if more else first.about
    return events[0].subject if events else ""


def _causes_of_trouble(database: Database) -> sa.Select[Any]:
    """Return the ids of the events of unfinished failed deliveries, and of all that led to them."""
    lost = sa.and_(deliveries.c.owner.is_not(None), deliveries.c.available_at <= database.clock)
    has_failed = (
        deliveries.c.last_error.is_not(None) | deliveries.c.previous_owner.is_not(None) | lost
    )
    of_event = sa.select(deliveries.c.event_id.label("id"))
    # separate queries, as each has its own index; in a subquery, as SQLite nests no unions
    trouble = sa.union(of_event.where(PARKED), of_event.where(CLAIMABLE, has_failed)).subquery()
    causes = sa.select(trouble.c.id).cte("causes", recursive=True)
    cause = sa.func.coalesce(events.c.causation_id, commands.c.causation_id)  # of either one
    earlier = (
        sa.select(cause)
        .select_from(causes)
        .outerjoin(events, events.c.id == causes.c.id)
        .outerjoin(commands, commands.c.id == causes.c.id)
        .where(cause.is_not(None))
    )
    return sa.select(causes.union(earlier).c.id)


_COMMANDS = sa.select(commands.c.id, commands.c.correlation_id, commands.c.accepted_at).where(
    commands.c.causation_id.is_(None)
)
