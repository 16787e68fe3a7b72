"""Makes a tree of what is stored of stories: commands, events, deliveries. Pure: no I/O."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from allocation.adapters.operations.moments import moment, moment_if_any
from allocation.adapters.operations.summaries import summary

Kind = Literal["command", "event", "delivery"]
State = Literal["done", "waiting", "leased", "parked"]
Row = sa.Row[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """An attempt of a delivery that failed, or that lost its lease."""

    attempt: int
    failed_at: datetime
    process: str | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceNode:
    """A command, an event or a delivery, in the tree of what caused what.

    Commands and events are done when they are committed. A delivery whose lease has ended is
    waiting, and `process` is the one that has lost it. `seconds` is how long the last attempt took.
    """

    kind: Kind
    id: str  # that of a delivery is EVENT_ID:HANDLER
    parent: str | None
    name: str
    state: State = "done"
    attempts: int | None = None
    seconds: float | None = None
    process: str | None = None
    due_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    failures: tuple[FailedAttempt, ...] = ()  # those that are kept, the oldest first
    parked_at: datetime | None = None
    token: int | None = None  # fencing token
    about: str = ""  # a few words: where a command comes from, what an event is about
    due_in: float | None = field(default=None, compare=False)  # seconds, by the database's clock

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in ("done", "parked")


def tree(commands: Iterable[Row], rows: Sequence[Row]) -> list[TraceNode]:
    """Return the nodes of some stories, depth first and the oldest first.

    An event hangs under the delivery that caused it. If it is not known which, as of events from
    before that was noted, it hangs under the event; and if that is not known, under nothing.
    """
    attempts: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.handler is not None:
            attempts[f"{row.id}:{row.handler}"].append(row)
    events = {str(row.id): row for row in rows}
    accepted = [_command(row) for row in commands]
    known = {*events, *attempts, *(node.id for node in accepted)}
    deliveries = [_delivery(key, of_one) for key, of_one in attempts.items()]
    return in_order([*accepted, *deliveries, *(_event(row, known) for row in events.values())])


def in_order(nodes: Iterable[TraceNode]) -> list[TraceNode]:
    """Return nodes depth first: deliveries by handler, the others by time."""
    children: defaultdict[str | None, list[TraceNode]] = defaultdict(list)
    for node in sorted(nodes, key=_place, reverse=True):
        children[node.parent].append(node)
    ordered, left = [], children[None]
    while left:  # not by recursion: nobody limits how long a chain of causes is
        ordered.append(left.pop())
        left += children[ordered[-1].id]
    return ordered


def state_of(row: Row) -> State:
    """Return what has become of a delivery by now."""
    if row.finished_at is not None:
        return "done"
    if row.parked_at is not None:
        return "parked"
    return "leased" if row.process is not None and row.due_in > 0 else "waiting"


def _command(row: Row) -> TraceNode:
    return TraceNode(
        kind="command",
        id=str(row.id),
        parent=None,
        name=row.type,
        finished_at=moment(row.accepted_at),
        about=row.source,
    )


def _event(row: Row, known: Collection[str]) -> TraceNode:
    causes = (f"{row.causation_id}:{row.committed_by}", str(row.causation_id))
    return TraceNode(
        kind="event",
        id=str(row.id),
        parent=next((cause for cause in causes if cause in known), None),
        name=row.type,
        finished_at=moment(row.recorded_at),
        about=summary(row.type, row.schema_version, row.data),
    )


def _delivery(key: str, rows: Sequence[Row]) -> TraceNode:
    row = rows[0]
    return TraceNode(
        kind="delivery",
        id=key,
        parent=str(row.id),
        name=row.handler,
        state=state_of(row),
        attempts=row.attempts,
        seconds=row.seconds,
        process=row.process,
        due_at=moment_if_any(row.due_at),
        finished_at=moment_if_any(row.finished_at),
        error=row.last_error,
        failures=tuple(_failure(row) for row in rows if row.attempt is not None),
        parked_at=moment_if_any(row.parked_at),
        token=row.token,
        due_in=row.due_in,
    )


def _failure(row: Row) -> FailedAttempt:
    return FailedAttempt(
        attempt=row.attempt,
        failed_at=moment(row.failed_at),
        process=row.failed_in,
        error=row.error,
    )


def _place(node: TraceNode) -> tuple[bool, float, str, str]:
    is_delivery = node.kind == "delivery"
    committed_at = node.finished_at.timestamp() if node.finished_at and not is_delivery else 0.0
    return not is_delivery, committed_at, node.name, node.id
