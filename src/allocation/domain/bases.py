"""What all aggregates have in common, and the kinds of errors with which they refuse.

Nothing in the domain reads a clock, draws a random number or does I/O; such values are arguments.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from allocation.domain.events import Event


class Aggregate(ABC):
    """A cluster of objects that is loaded, changed and stored as one (the book, chapter 7).

    Every change in it, or in a part of it, raises its version, so that others notice.
    """

    version: int
    recorded_events: tuple[Event, ...] = ()  # a class default: an object loaded from a row has it

    @property
    @abstractmethod
    def subject(self) -> str:
        """What its events are about, for other services: its key, unless that is a secret."""

    def record(self, event: Event) -> None:
        """Remember that `event` happened, in order."""
        self.recorded_events += (event,)

    def pull_events(self) -> tuple[Event, ...]:
        """Return the recorded events, and forget them."""
        drained, self.recorded_events = self.recorded_events, ()
        return drained


class DomainError(Exception):
    """An error that takes facts; its class `says` a sentence with a gap for each of them."""

    error_kind: ClassVar[str]  # decides what becomes of the failed work: the engine reads it
    says: ClassVar[str]

    def __init_subclass__(cls, *, says: str = "{}") -> None:
        cls.says = says

    def __init__(self, *facts: object) -> None:
        super().__init__(self.says.format(*facts))


class InvalidValue(DomainError, says="{} {}"):
    """A value that can never be accepted: the error says which, and which rule it breaks."""

    error_kind = "invalid"


class RuleViolation(DomainError):
    """The input is well-formed, but a business rule refuses it."""

    error_kind = "refused"
