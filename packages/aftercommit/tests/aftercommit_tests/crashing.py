"""Runs the application until it reaches a crash point, and kills it there with SIGKILL.

    python -m aftercommit_tests.crashing POINT ARGUMENTS…

The product has no switches for this: the points are put in from here, around its own functions.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pkgutil import resolve_name
from typing import Any, Literal

from aftercommit.bus import MessageBus
from aftercommit.claims import CommandWork
from aftercommit.sql.delivery_store import SqlAlchemyDeliveryStore
from aftercommit.sql.unit_of_work_scope import SqlAlchemyUnitOfWorkScope

from aftercommit_tests.things.app import cli
from aftercommit_tests.things.bell import FileBell

BROKER = "aftercommit.extensions.brokers.base:Broker"
CONSUMER = "aftercommit.extensions.brokers.command_consumer"

ending = signal.SIGKILL  # freezing.py says otherwise


@dataclass(frozen=True)
class CrashPoint:
    """Before or after one call of a function; `when` looks at its arguments.

    The owner of the function is named by a string where it is in an extension.
    """

    owner: Any
    name: str
    moment: Literal["before", "after"]
    when: Callable[..., bool] = lambda *args, **kwargs: True

    def __post_init__(self) -> None:
        getattr(self._owner, self.name)  # whoever renames a function is told before any test runs

    @property
    def _owner(self) -> Any:
        return resolve_name(self.owner) if isinstance(self.owner, str) else self.owner

    def arm(self) -> None:
        """Put the crash point in."""
        owner = self._owner
        original = getattr(owner, self.name)

        @wraps(original)
        async def crashing(*args: Any, **kwargs: Any) -> Any:
            hit = self.when(*args, **kwargs)
            if hit and self.moment == "before":
                os.kill(os.getpid(), ending)
            result = await original(*args, **kwargs)
            if hit:
                os.kill(os.getpid(), ending)
            return result

        setattr(owner, self.name, crashing)


def _of_command(uow: Any, *args: object) -> bool:
    return isinstance(uow._work, CommandWork)


def _completing(handler: str) -> Callable[..., bool]:
    return lambda outbox, transaction, delivery, **_: delivery.handler == handler


def _ring_of(handler: str) -> Callable[..., bool]:
    return lambda self, text, *, idempotency_key: idempotency_key.endswith(f":{handler}")


UOW = SqlAlchemyUnitOfWorkScope
COMMITTING: dict[str, CrashPoint] = {
    "in the commit": CrashPoint(SqlAlchemyDeliveryStore, "store", "after"),
    "after the commit": CrashPoint(UOW, "commit", "after", _of_command),
    "before the fan-out": CrashPoint(MessageBus, "run", "before"),
}
HANDLING: dict[str, CrashPoint] = {
    "in the commit of write_down": CrashPoint(
        SqlAlchemyDeliveryStore, "complete_in", "after", _completing("write_down")
    ),
    "inside announce, after the effect": CrashPoint(
        FileBell, "ring", "after", _ring_of("announce")
    ),
}
CONSUMING: dict[str, CrashPoint] = {
    "before the command of a message": CrashPoint(MessageBus, "execute", "before"),
    "in the commit of its command": CrashPoint(SqlAlchemyDeliveryStore, "store", "after"),
    "before the acknowledgement": CrashPoint(CONSUMER, "_acknowledge", "before"),
    "after the acknowledgement": CrashPoint(CONSUMER, "_acknowledge", "after"),
}
DEAD_LETTERING: dict[str, CrashPoint] = {
    "before dead-lettering": CrashPoint(BROKER, "dead_letter", "before"),
    "after dead-lettering": CrashPoint(BROKER, "dead_letter", "after"),
}
CRASH_POINTS = {**COMMITTING, **HANDLING, **CONSUMING, **DEAD_LETTERING}

if __name__ == "__main__":
    point, *arguments = sys.argv[1:]
    CRASH_POINTS[point].arm()
    cli(arguments)
