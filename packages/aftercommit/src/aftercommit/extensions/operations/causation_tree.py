"""Makes a causation tree of stored commands, events and deliveries. Pure: no I/O."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

import sqlalchemy as sa

from aftercommit.codec import Codec
from aftercommit.deliveries.ends import ClaimEnd
from aftercommit.extensions.operations.decisions import What
from aftercommit.giving_up import GivenUp

Kind = Literal["command", "event", "delivery"]
State = Literal[
    "scheduled",
    "due",
    "retrying",
    "running",
    "lease_expired",
    "paused",
    "blocked",
    "parked",
    "done",
    "given_up",
    "discarded",
]
SETTLED = ("scheduled", "done", "given_up", "discarded", "parked", "paused", "blocked")
Row = sa.Row[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """An attempt of a delivery that failed, or that lost its lease; `history` has more details."""

    attempt: int
    failed_at: datetime
    owner: str | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """How a claim ended whose handler did not succeed; or an operator's decision.

    `by` is the process or the operator. Only a claim has an attempt, and a fencing token.
    """

    what: ClaimEnd | What
    recorded_at: datetime
    by: str | None
    why: str | None
    attempt: int | None
    token: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A command, an event or a delivery, in the tree of what caused what.

    Commands and events are done when they are committed. If a delivery's lease has expired, `owner`
    is the process that held it. A blocked delivery waits for the first delivery of its lane, which
    belongs to the event `blocked_by`. `seconds` is the duration of the last attempt. `given_up`
    says why only what happens instead of the handler runs, or has run. `about` says in a few words
    where a command comes from, or what an event is about; `subject` is the id of that.
    """

    # the schema of the API says that an answer has all fields
    __pydantic_config__: ClassVar = {"json_schema_serialization_defaults_required": True}

    kind: Kind
    id: str  # a delivery's id is EVENT_ID:HANDLER
    parent: str | None
    correlation_id: UUID  # of the trace
    name: str
    about: str = ""
    subject: str = ""
    state: State
    attempts: int | None = None
    token: int | None = None  # fencing token
    replay: bool = False
    seconds: float | None = None
    owner: str | None = None
    blocked_by: UUID | None = None
    available_at: datetime | None = None
    completed_at: datetime | None = None
    parked_at: datetime | None = None
    error: str | None = None
    given_up: str | None = None
    failures: tuple[FailedAttempt, ...]  # those that are kept, oldest first
    history: Sequence[HistoryEntry] = ()  # of a delivery or an event, oldest first

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it by itself, at least not before its `Later` delay ends.

        Other events, perhaps in another trace, may still change it.
        """
        return self.state in SETTLED


def tree(
    codec: Codec[object],
    commands: Iterable[Row],
    rows: Sequence[Row],
    past: Mapping[tuple[UUID, str | None], Sequence[HistoryEntry]],
) -> list[Node]:
    """Return the nodes of some traces, depth first, oldest first.

    An event's parent is the delivery that caused it. If that is unknown, as for events of old
    versions, it is the event that caused it; if that is unknown, too, there is no parent.
    """
    of_deliveries = [row for row in rows if row.handler is not None]
    deliveries = [_delivery(row, past.get((row.id, row.handler), ())) for row in of_deliveries]
    events, ids = {str(row.id): row for row in rows}, {node.id for node in deliveries}
    accepted = [_command(row, ids) for row in commands]
    known = {*events, *ids, *(node.id for node in accepted)}
    recorded = (_event(codec, row, known, past.get((row.id, None), ())) for row in events.values())
    return _in_order([*accepted, *deliveries, *recorded])


def _in_order(nodes: Iterable[Node]) -> list[Node]:
    """Return nodes depth first: deliveries by handler, the others by time."""
    children: defaultdict[str | None, list[Node]] = defaultdict(list)
    for node in sorted(nodes, key=_place, reverse=True):
        children[node.parent].append(node)
    ordered, left = [], children[None]
    while left:  # not by recursion: a chain of causes may have any length
        ordered.append(left.pop())
        left += children[ordered[-1].id]
    return ordered


def _place(node: Node) -> tuple[bool, float, str, str]:
    is_delivery = node.kind == "delivery"
    committed_at = node.completed_at.timestamp() if node.completed_at and not is_delivery else 0.0
    return not is_delivery, committed_at, node.name, node.id


def part_of(nodes: Sequence[Node], roots: Collection[str]) -> list[Node]:
    """Return some nodes of a tree, with their causes and their effects."""
    effects, causes = set(roots), set[str | None](roots)
    for node in nodes:  # depth first: each comes after its parent
        effects |= {node.id} if node.parent in effects else set()
    for node in reversed(nodes):
        causes |= {node.parent} if node.id in causes else set()
    return [node for node in nodes if node.id in effects | causes]


def _command(row: Row, known: Collection[str]) -> Node:
    cause = f"{row.causation_id}:{row.source}"
    return Node(
        kind="command",
        id=str(row.id),
        parent=cause if cause in known else None,
        correlation_id=row.correlation_id,
        name=row.type,
        about=row.source,
        state="done",
        completed_at=row.accepted_at,
        failures=(),
    )


def _event(
    codec: Codec[object], row: Row, known: Collection[str], past: Sequence[HistoryEntry]
) -> Node:
    causes = (f"{row.causation_id}:{row.committed_by}", str(row.causation_id))
    parent = next((cause for cause in causes if cause in known), None)
    return Node(
        kind="event",
        id=str(row.id),
        parent=parent,
        correlation_id=row.correlation_id,
        name=row.type,
        about=summary(codec, row.type, row.schema_version, row.data),
        subject=row.subject,
        state="done",
        completed_at=row.recorded_at,
        failures=(),
        history=past,
    )


_OF_DELIVERY = (
    *("correlation_id", "state", "attempts", "seconds", "owner", "token", "replay", "error"),
    *("available_at", "parked_at", "completed_at", "blocked_by"),
)


def _delivery(row: Row, past: Sequence[HistoryEntry]) -> Node:
    key, what = f"{row.id}:{row.handler}", {name: getattr(row, name) for name in _OF_DELIVERY}
    what |= {"history": past, "failures": tuple(_failures(past))}
    what["given_up"] = GivenUp.from_text(row.given_up).words if row.given_up else None
    return Node(kind="delivery", id=key, parent=str(row.id), name=row.handler, **what)


def _failures(past: Iterable[HistoryEntry]) -> Iterator[FailedAttempt]:
    for each in past:
        if each.what in ("failed", "lease_expired"):
            attempt, error = each.attempt or 0, each.why or ""
            yield FailedAttempt(
                attempt=attempt, failed_at=each.recorded_at, owner=each.by, error=error
            )


def summary(codec: Codec[object], name: str, version: int, data: str) -> str:
    """Return whom and what an event is about, in the application's words.

    It is empty if this process cannot read the event.
    """
    try:
        return codec.describe(codec.read(name, version, data, codec.events[name]))
    except Exception:  # also an error in an upcaster, or in the event's class
        return ""
