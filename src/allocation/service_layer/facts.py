"""What observers are told, as it happens. What they raise is logged, and hurts nobody."""

from collections.abc import Callable
from dataclasses import dataclass

from allocation.domain.commands import Command
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.envelopes import Envelope


@dataclass(frozen=True, slots=True)
class Executed:
    """A command was accepted, and has committed these events."""

    command: Command
    events: tuple[Envelope, ...]


@dataclass(frozen=True, slots=True)
class AttemptBegun:
    """A handler was begun, and has so many seconds."""

    delivery: Delivery
    seconds: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """It has ended, well or not."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Delivered:
    """A handler has done its work, and has committed these events."""

    delivery: Delivery
    events: tuple[Envelope, ...]


Fact = Executed | AttemptBegun | AttemptEnded | Delivered
Observer = Callable[[Fact], None]
"""Takes what it cares for, at once: for display, metrics, traces, alarms."""
