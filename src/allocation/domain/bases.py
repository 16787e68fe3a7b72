"""What all aggregates have in common, and the kinds of errors that they raise.

Nothing in the domain reads a clock, draws a random number or does I/O; such values are arguments.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from allocation.domain.events import Event


class Aggregate(ABC):
    """A cluster of objects that is loaded, changed and stored as one (the book, chapter 7).

    A change of any of its objects raises its version, so a concurrent change is noticed.
    """

    version: int
    recorded_events: tuple[Event, ...] = ()  # on the class: loading a row does not call __init__

    @property
    @abstractmethod
    def subject(self) -> str:
        """Its key, or something else that names it in its events, if the key is a secret."""

    def record(self, event: Event) -> None:
        """Remember that `event` has happened, after those recorded before."""
        self.recorded_events += (event,)

    def pull_events(self) -> tuple[Event, ...]:
        """Return the recorded events, and forget them."""
        drained, self.recorded_events = self.recorded_events, ()
        return drained


class DomainError(Exception):
    """An error made of facts: `says` is its sentence, with a `{}` for each fact."""

    error_kind: ClassVar[str]  # decides what becomes of the failed work: the engine reads it
    says: ClassVar[str]

    def __init_subclass__(cls, *, says: str = "{}") -> None:
        cls.says = says

    def __init__(self, *facts: object) -> None:
        super().__init__(self.says.format(*facts))


class InvalidValue(DomainError, says="{} {}"):
    """A value that can never be accepted. The error names the value and the rule it breaks."""

    error_kind = "invalid"


class RuleViolation(DomainError):
    """The input is well-formed, but a business rule refuses it."""

    error_kind = "refused"
