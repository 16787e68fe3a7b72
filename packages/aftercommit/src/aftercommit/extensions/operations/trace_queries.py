"""The queries behind a trace: everything with one correlation id, found by any id in it.

Events and deliveries are read with one statement: with two, PostgreSQL would show the second a
later state, and a done delivery could be shown without the events it caused.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.states import delivery_state
from aftercommit.deliveries.tables import commands, deliveries, events
from aftercommit.errors import InvalidValue, kind_of
from aftercommit.extensions.operations.causation_tree import Node, part_of, tree
from aftercommit.extensions.operations.delivery_admin import blocked_by
from aftercommit.extensions.operations.delivery_history import read_history
from aftercommit.extensions.operations.exceptions import TraceNotFound
from aftercommit.extensions.operations.subject_lookup import FindSubjects, SubjectQuery
from aftercommit.extensions.operations.times import Epoch, in_utc

MAX_TRACES = 100
MAX_ROWS = 5000  # of one kind, in all the traces shown
MAX_KNOWN = 50_000  # events and commands in which effects are searched
SLACK_SECONDS = 60.0  # by which a database's clock may have been set back
MIN_PREFIX = 8  # digits of an id: shown, and needed to find it


Range = tuple[UUID | str, UUID | str]
"""The first and the last of a range of ids, or some subjects."""


class TraceQuery(NamedTuple):
    """What an operator has given, and what it means: a first and last id, or some subjects."""

    text: str
    meaning: tuple[UUID, UUID] | SubjectQuery


def trace_query(text: str, find_subjects: FindSubjects) -> TraceQuery:
    """Return what a text means: an id, or something that the application can find.

    :raises InvalidValue: if it is neither
    """
    digits = text.removesuffix("…").replace("-", "").lower()
    if re.fullmatch(f"[0-9a-f]{{{MIN_PREFIX},32}}", digits):
        return TraceQuery(text, (UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))
    try:
        return TraceQuery(text, find_subjects(text))
    except Exception as error:
        if kind_of(error) != "invalid":
            raise
        rule = f"neither an id nor {MIN_PREFIX} or more of its first digits"
        raise InvalidValue("ID", f"{text!r} is {rule}; {error}") from None


def begins_trace(event: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return whether an event has begun a trace: an outbox has recorded it, and no command."""
    causes = (each.alias("cause") for each in (commands, events))
    known = [sa.exists().where(each.c.id == event.c.causation_id) for each in causes]
    return sa.and_(event.c.causation_id == event.c.correlation_id, ~sa.or_(*known))


def newest_events(limit: int, *, since: float | None = None) -> sa.Subquery:
    """Return the newest events, through the index of their times; none of the others is read."""
    row = events.c
    newest = sa.select(row.id, row.correlation_id, row.causation_id, row.recorded_at)
    if since is not None:
        newest = newest.where(row.recorded_at >= since)
    return newest.order_by(row.recorded_at.desc()).limit(limit).subquery()


def message_query(source: str, message_id: str) -> TraceQuery:
    """Return the query for the command of a message from outside."""
    this = sa.select(commands.c.id).filter_by(source=source, message_id=message_id)

    async def query(database: Database) -> Sequence[UUID]:
        async with database.read_transaction() as transaction:
            return (await transaction.execute(this)).scalars().all()

    return TraceQuery(f"{source} {message_id}", query)


class Traces(NamedTuple):
    """Everything with certain correlation ids, as one tree: see `causation_tree.tree`."""

    nodes: Sequence[Node]
    is_whole: bool
    read_at: datetime | None  # by the database's clock; None if there is no event


async def find_traces(database: Database, about: TraceQuery) -> Traces:
    """Return the newest MAX_TRACES that contain what is searched.

    If a trace contains many subjects, only the parts about the given ones are shown.

    :raises TraceNotFound: if no trace contains it
    """
    ids: list[Range] = [about.meaning] if isinstance(about.meaning, tuple) else []
    if not isinstance(about.meaning, tuple):
        ids += [(subject, subject) for subject in await about.meaning(database)]
    async with database.read_transaction() as transaction:
        newest = await _newest(transaction, ids)
        found = await read_traces(transaction, database, newest, limit=MAX_ROWS)
    if not found.nodes:
        raise TraceNotFound(about.text)
    named = {node.id for node in found.nodes if _is_in(ids, node.subject)}
    if is_part := not isinstance(about.meaning, tuple):
        named |= {node.id for node in found.nodes if _is_in(ids, node.id)}
    is_part |= bool(named)
    return found._replace(nodes=part_of(found.nodes, named)) if is_part else found


def _is_in(ids: Sequence[Range], subject: str) -> bool:
    return any(str(first) <= subject <= str(last) for first, last in ids)


async def read_traces(
    transaction: Transaction,
    database: Database,
    correlation_ids: Collection[UUID],
    *,
    limit: int | None,
    only_of: Collection[UUID] | None = None,
    since: float | None = None,
    with_history: bool = True,
) -> Traces:
    """Return these traces; or only some of their commands or events, with what these have caused.

    If these were stored `since` a time, only later rows are read, however long their
    traces are; otherwise, MAX_KNOWN events and commands of the traces.

    The number of statements does not depend on the length of a trace. What they return is bounded
    by the limit, for each kind, in all traces together.
    """
    table = events.c, commands.c
    these = [each.correlation_id.in_(correlation_ids) for each in table]
    if only_of is not None:
        these = [each.id.in_(_caused_by(only_of, correlation_ids, since)) for each in table]
    read_at = sa.type_coerce(database.clock, Epoch).label("read_at")
    state = delivery_state(database.clock).label("state")
    found = _EVENTS.add_columns(read_at, state).where(these[0])
    rows = (await transaction.execute(found.limit(limit))).all()
    accepted = (await transaction.execute(_COMMANDS.where(these[1]).limit(limit))).all()
    past = await read_history(transaction, these[0], limit=limit) if with_history else {}
    counts = len(rows), len(accepted), sum(map(len, past.values()))
    is_whole = limit is None or max(counts) < limit
    nodes = tree(database.codec, accepted, rows, past)
    return Traces(nodes, is_whole, rows[0].read_at if rows else None)


def _caused_by(
    accepted: Collection[UUID], correlation_ids: Collection[UUID], since: float | None
) -> sa.Select[Any]:
    """Return some ids of commands and events, and of all events and commands that these caused.

    There is no index of causes: the database builds one for the rows it reads.
    """
    each = []
    for table, time in ((events, events.c.recorded_at), (commands, commands.c.accepted_at)):
        causes_of = sa.select(table.c.id, table.c.causation_id)
        if since is None:
            these = causes_of.where(table.c.correlation_id.in_(correlation_ids)).limit(MAX_KNOWN)
        else:
            these = causes_of.where(time >= since - SLACK_SECONDS)
        each.append(sa.select(these.subquery()))
    known = sa.union_all(*each).cte("known")
    first = (sa.select(each.c.id).where(each.c.id.in_(accepted)) for each in (commands, events))
    begun = sa.union_all(*first).subquery()  # SQLite nests no unions
    causes = sa.select(begun.c.id).cte("caused", recursive=True)
    effects = sa.select(known.c.id).join_from(causes, known, known.c.causation_id == causes.c.id)
    return sa.select(causes.union(effects).c.id)


async def _newest(transaction: Transaction, ids: Sequence[Range]) -> Sequence[UUID]:
    """Return the correlation ids of the newest traces, each part through an index of its own."""
    parts = [part for each in ids for part in _parts(*each)]
    if not parts:
        return []
    found = sa.union_all(*parts).subquery()
    newest = sa.func.max(found.c.time).desc()
    statement = sa.select(found.c.correlation_id).group_by(found.c.correlation_id)
    return (await transaction.execute(statement.order_by(newest).limit(MAX_TRACES))).scalars().all()


def _parts(first: UUID | str, last: UUID | str) -> Iterator[sa.Select[Any]]:
    for table, time in ((commands, commands.c.accepted_at), (events, events.c.recorded_at)):
        trace = sa.select(table.c.correlation_id, time.label("time"))
        for column in (table.c.id, table.c.correlation_id) if isinstance(first, UUID) else ():
            yield trace.where(column.between(first, last))
    yield trace.where(events.c.subject.between(str(first), str(last)))


def _columns(table: sa.Table, *names: str) -> list[sa.Column[Any]]:
    return [table.c[name] for name in names]


_COMMANDS = sa.select(
    *_columns(commands, "id", "type", "source", "correlation_id", "causation_id"),
    in_utc(commands.c.accepted_at),
)
_EVENTS = (  # one row for each delivery; None where there is none
    sa.select(
        *_columns(events, "id", "type", "schema_version", "subject", "data"),
        *_columns(events, "correlation_id", "causation_id"),
        in_utc(events.c.recorded_at),
        events.c.handler.label("committed_by"),
        *_columns(deliveries, "handler", "attempts", "owner", "token", "replay", "given_up"),
        *map(in_utc, _columns(deliveries, "available_at", "completed_at", "parked_at")),
        deliveries.c.duration_seconds.label("seconds"),
        deliveries.c.last_error.label("error"),
        blocked_by().label("blocked_by"),
    )
    .select_from(events.outerjoin(deliveries))
    .order_by(events.c.recorded_at, events.c.id, deliveries.c.handler)
)
