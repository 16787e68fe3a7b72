"""What observers are told, as it happens. What they raise is logged, and hurts nobody."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from allocation.domain.commands import Command
from allocation.service_layer.delivery import Delivery, Failure, Trigger
from allocation.service_layer.envelopes import Envelope

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Executed:
    """A command was accepted, and has committed these events."""

    command: Command
    events: tuple[Envelope, ...]


@dataclass(frozen=True, slots=True)
class Begun:
    """A handler was begun, and has so many seconds; that of a command as many as it takes."""

    trigger: Trigger
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended, well or with an error; told, as its begin, in the task that runs it."""

    trigger: Trigger
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Delivered:
    """A handler has done its work, and has committed these events."""

    delivery: Delivery
    events: tuple[Envelope, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A delivery was attempted in vain, and will be tried again, or is parked."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class OptimisticRetry:
    """A handler is run anew: others have changed what it had read."""

    trigger: Trigger


Fact = Begun | Ended | Executed | Delivered | Failed | OptimisticRetry
Observer = Callable[[Fact], None]
"""Takes what it cares for, at once: for display, metrics, traces, alarms."""
Observers = Sequence[Observer]


def tell(observers: Observers, fact: Fact) -> None:
    """Tell it to each of them."""
    for observer in observers:
        try:
            observer(fact)
        except Exception:
            logger.exception("an observer failed")


@contextmanager
def told(observers: Observers, trigger: Trigger, seconds: float | None = None) -> Iterator[None]:
    """Tell of a begin and of its end, in this task."""
    tell(observers, Begun(trigger, seconds))
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        tell(observers, Ended(trigger, error))
