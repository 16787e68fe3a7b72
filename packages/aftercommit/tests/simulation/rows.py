"""A delivery as it is stored, as all checks see it."""

from dataclasses import dataclass
from uuid import UUID

PAUSED = 1e11  # what is due later than that is held: its handler is paused
NOTE = 2**64  # the number of an order is lower: notes are numbered by what is above
PERMANENT = ("CardRefused",)  # errors after which nobody tries again


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table of deliveries."""

    event_id: UUID
    handler: str
    attempts: int
    token: int
    due: float | None
    owner: str | None
    parked_at: float | None
    completed_at: float | None
    discarded_at: float | None
    lane: str | None
    position: int | None
    blocked: bool
    replay: bool
    last_error: str | None
    limit_name: str | None
    given_up: str | None

    @property
    def key(self) -> str:
        """The idempotency key of its handler."""
        return f"{self.event_id}:{self.handler}"

    @property
    def is_open(self) -> bool:
        """Whether it is neither done nor discarded."""
        return self.completed_at is None

    @property
    def is_held(self) -> bool:
        """Whether it waits until its handler is resumed."""
        return (self.due or 0.0) > PAUSED

    @property
    def can_never_succeed(self) -> bool:
        """Whether it has failed forever."""
        return (self.last_error or "").startswith(PERMANENT)

    def is_given_up_since(self, before: "Row | None") -> bool:
        """Tell whether its handler was given up, and had not been before."""
        return self.given_up is not None and (before is None or before.given_up is None)

    def is_done_since(self, before: "Row | None") -> bool:
        """Tell whether its handler has done it, and had not before."""
        was_open = before is None or before.is_open
        return was_open and not self.is_open and self.discarded_at is None


def caller(number: int) -> str:
    """Return who has placed an order, as ids of messages and decisions about it quote it."""
    return f"caller {number}"


def number_of(subject: str) -> tuple[int, int]:
    """Return the number of the order that an event is about, and that of its note, or 0."""
    note, order = divmod(UUID(subject).int, NOTE)
    return order, note
