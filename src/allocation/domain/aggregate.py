"""What all aggregates have in common: each enforces its own rules, and records what happened.

Nothing here reads a clock, draws a random number or does I/O; such values are arguments.
"""

from abc import ABC, abstractmethod

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
