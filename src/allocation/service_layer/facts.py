"""What observers are told, as it happens. What they raise is logged, and hurts nobody."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

from allocation.domain.commands import Command
from allocation.service_layer.delivery import Delivery, Failure, Trigger
from allocation.service_layer.envelopes import Envelope

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Executed:
    """A command was accepted, and has committed these events."""

    command: Command
    events: tuple[Envelope, ...]


@dataclass(frozen=True, slots=True, eq=False)
class OutsideCall:
    """One call to the world outside, by the names of a port and its method."""

    port: str
    method: str


Work = Trigger | OutsideCall


@dataclass(frozen=True, slots=True)
class Begun:
    """A handler was begun, or a call by one; it has so many seconds, or as many as it takes."""

    work: Work
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended, well or with an error; told, as its begin, in the task that runs it."""

    work: Work
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
class Superseded:
    """A delivery was attempted too late: another has claimed it, who says what becomes of it."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class OptimisticRetry:
    """A handler is run anew: others have changed what it had read."""

    trigger: Trigger


Fact = Begun | Ended | Executed | Delivered | Failed | Superseded | OptimisticRetry
Observer = Callable[[Fact], None]
"""Takes what it cares for, at once: for display, metrics, traces, alarms."""
Observers = Sequence[Observer]


def tell(observers: Observers, fact: Fact) -> None:
    """Tell it to each of them."""
    for observer in observers:
        try:
            observer(fact)
        except KeyboardInterrupt:
            raise
        except BaseException:
            logger.exception("an observer failed")


@contextmanager
def told(observers: Observers, work: Work, seconds: float | None = None) -> Iterator[None]:
    """Tell of a begin and of its end, in this task."""
    tell(observers, Begun(work, seconds))
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        tell(observers, Ended(work, error))


def observed(observers: Observers, name: str, port: object) -> Any:
    """Return a stand-in for a port to the world outside: observers are told of its calls."""
    return _Observed(observers, name, port)


class _Observed:
    def __init__(self, observers: Observers, name: str, port: object) -> None:
        self._observers, self._name, self._port = observers, name, port

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._port, name)
        if not iscoroutinefunction(member):
            return member

        async def call(*args: Any, **kwargs: Any) -> Any:
            with told(self._observers, OutsideCall(self._name, name)):
                return await member(*args, **kwargs)

        return call
