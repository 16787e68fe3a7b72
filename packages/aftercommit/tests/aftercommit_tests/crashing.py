"""Runs the application until it reaches a crash point, and kills it there with SIGKILL.

    python -m aftercommit_tests.crashing [--freeze] POINT ARGUMENTS…

With `--freeze`, it is stopped instead, as by SIGSTOP. The product has no switches for this: a crash
point is a call of a driver, of the database or of a broker, or one effect of a handler.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial, wraps
from pkgutil import resolve_name
from typing import Any, Literal

from aftercommit_tests.driver_calls import Call, watch

Moment = Literal["before", "after"]

STORED = "INSERT INTO aftercommit_deliveries"
COMPLETED = "UPDATE aftercommit_deliveries"
BELL = "aftercommit_tests.things.bell:FileBell.ring"


@dataclass(frozen=True)
class AtStatement:
    """Before or after a call of the database's driver, of which `when` is true."""

    moment: Moment
    when: Callable[[Call], bool]

    def arm(self, end: Callable[[], None]) -> None:
        """Put the crash point in."""

        def look(call: Call) -> None:
            if self.when(call):
                end()

        watch(**{self.moment: look})


class AtCall:
    """Before or after one call of another function that others wait for, which are alternatives."""

    def __init__(self, moment: Moment, *functions: str, key: str = "") -> None:
        self._moment, self._functions, self._key = moment, functions, key

    def arm(self, end: Callable[[], None]) -> None:
        """Put the crash point in."""
        for function in self._functions:
            owner, _, name = function.rpartition(".")
            setattr(resolve_name(owner), name, self._wrapped(resolve_name(function), end))

    def _wrapped(
        self, function: Callable[..., Awaitable[Any]], end: Callable[[], None]
    ) -> Callable[..., Awaitable[Any]]:
        @wraps(function)
        async def crashing(*args: Any, **kwargs: Any) -> Any:
            hit = kwargs.get("idempotency_key", "").endswith(self._key)
            if hit and self._moment == "before":
                end()
            result = await function(*args, **kwargs)
            if hit:
                end()
            return result

        return crashing


def _commits(*asked: str) -> Callable[[Call], bool]:
    return lambda call: call.sql == "COMMIT" and call.follows(*asked)


def _is_first_after_the_commit(call: Call) -> bool:
    return any(STORED in sql for transaction in call.committed for sql in transaction)


ACKNOWLEDGING = "aio_pika:IncomingMessage.ack", "aiokafka:AIOKafkaConsumer.commit"
PUBLISHING = "aio_pika:Exchange.publish", "aiokafka:AIOKafkaProducer.send_and_wait"
CRASH_POINTS: dict[str, AtStatement | AtCall] = {
    "in the commit": AtStatement("before", _commits(STORED)),
    "after the commit": AtStatement("after", _commits(STORED)),
    "before the fan-out": AtStatement("before", _is_first_after_the_commit),
    "in the commit of write_down": AtStatement("before", _commits("INSERT INTO lines", COMPLETED)),
    "inside announce, after the effect": AtCall("after", BELL, key=":announce"),
    "before the acknowledgement": AtCall("before", *ACKNOWLEDGING),
    "before dead-lettering": AtCall("before", *PUBLISHING),
}


def arm(point: str, number: int = signal.SIGKILL) -> None:
    """Let this process send itself a signal when it is there."""
    CRASH_POINTS[point].arm(partial(os.kill, os.getpid(), number))


def main(*arguments: str) -> None:
    from aftercommit_tests.things.app import cli

    number = signal.SIGKILL
    if arguments[0] == "--freeze":
        number, arguments = signal.SIGSTOP, arguments[1:]
    arm(arguments[0], number)
    cli(arguments[1:])


if __name__ == "__main__":
    main(*sys.argv[1:])
