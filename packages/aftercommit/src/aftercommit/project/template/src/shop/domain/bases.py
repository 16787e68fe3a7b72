"""What all aggregates, messages and errors have in common."""

from typing import ClassVar
from uuid import UUID


class Command:
    """Base of all commands: what somebody wants to be done."""


class Event:
    """Base of all events: what has happened."""


class RuleViolation(Exception):
    """The input is well-formed, but a business rule refuses it."""

    error_kind: ClassVar[str] = "refused"


class InvalidInput(Exception):
    """The input can never be accepted as it is."""

    error_kind: ClassVar[str] = "invalid"


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
