"""What all aggregates, messages and errors have in common."""

from typing import ClassVar
from uuid import UUID


class Command:
    """Base of all commands: what somebody wants to be done."""


class Event:
    """Base of all events: what has happened."""


class DomainError(Exception):
    """An error that takes facts; its class `says` a sentence with a gap for each of them."""

    says: ClassVar[str]

    def __init_subclass__(cls, *, says: str = "{}") -> None:
        cls.says = says

    def __init__(self, *facts: object) -> None:
        super().__init__(self.says.format(*facts))


class InvalidValue(DomainError, says="{} {}"):
    """A value that can never be accepted: the error says which, and which rule it breaks."""

    error_kind: ClassVar[str] = "invalid"


class RuleViolation(DomainError):
    """The input is well-formed, but a business rule refuses it."""

    error_kind: ClassVar[str] = "refused"


class Aggregate:
    """A cluster of objects that is loaded, changed and stored as one.

    Every change in it, or in a part of it, raises its version, so that others notice.
    """

    id: UUID
    version: int
    recorded_events: tuple[Event, ...] = ()  # a class default: objects loaded from rows have it

    @property
    def subject(self) -> str:
        """What its events are about."""
        return str(self.id)

    def record(self, event: Event) -> None:
        """Remember that `event` happened, in order."""
        self.recorded_events += (event,)

    def pull_events(self) -> tuple[Event, ...]:
        """Return the recorded events, and forget them."""
        pulled, self.recorded_events = self.recorded_events, ()
        return pulled
