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
from aftercommit.claims import Claim, CommandWork, Failure
from aftercommit.sql.outbox import SqlAlchemyOutbox
from aftercommit.sql.transaction import Transaction
from aftercommit.sql.unit_of_work import SqlAlchemyUnitOfWorkScope

from aftercommit_tests.things.app import cli
from aftercommit_tests.things.bell import FileBell

REPLAY = "aftercommit.extensions.operations.replay:Replay"
FORGETTING_MODULE = "aftercommit.extensions.operations.retention"
BATCHES = "aftercommit.extensions.operations.batched_transactions"
BROKER = "aftercommit.extensions.brokers.base:Broker"
CONSUMER = "aftercommit.extensions.brokers.consumer"

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
    also: "CrashPoint | None" = None  # the same where it is done in another way

    def __post_init__(self) -> None:
        getattr(self._owner, self.name)  # whoever renames a function is told before any test runs

    @property
    def _owner(self) -> Any:
        return resolve_name(self.owner) if isinstance(self.owner, str) else self.owner

    def arm(self) -> None:
        """Put the crash point in."""
        if self.also:
            self.also.arm()
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


def _of_answer(uow: Any, *args: object) -> bool:
    return _of_command(uow) and uow._work.settles is not None


def _commit_of(handler: str) -> Callable[..., bool]:
    return lambda uow, *args: getattr(uow._work, "handler", None) == handler


def _delivery_to(handler: str) -> Callable[..., bool]:
    def matches(self: object, delivery: Claim, *args: object, **kwargs: object) -> bool:
        return delivery.handler == handler

    return matches


def _ring_of(handler: str) -> Callable[..., bool]:
    return lambda self, text, *, idempotency_key: idempotency_key.endswith(f":{handler}")


def _to_try_again(self: object, failure: Failure) -> bool:
    return failure.retry_in is not None


def _for_good(self: object, failure: Failure) -> bool:
    return failure.retry_in is None


def _claims(statements: object, sql: str, *args: object) -> bool:
    return sql.startswith(("WITH due", "WITH found"))


def _setting(column: str) -> Callable[..., bool]:
    """Match what sets a column of a delivery that is not done."""

    def matches(transaction: object, statement: object, *args: object) -> bool:
        _, _, change = str(statement).partition(" SET")  # what is before it locks the row
        sets = change.partition("WHERE")[0]
        return f" {column}=" in sets and "completed_at" not in sets

    return matches


UOW = SqlAlchemyUnitOfWorkScope
Rows = list[tuple[str, Any, str, Literal["before", "after"], Callable[[str], Callable[..., bool]]]]
TRANSACTIONAL: Rows = [
    ("before {}", MessageBus, "_attempt", "before", _delivery_to),
    ("inside {}, before it has written", UOW, "_write", "before", _commit_of),
    ("in the commit of {}", UOW, "_write", "after", _commit_of),
    ("after the commit of {}", UOW, "commit", "after", _commit_of),
]
OUTSIDE: Rows = [
    ("before {}", MessageBus, "_attempt", "before", _delivery_to),
    ("inside {}, before the effect", FileBell, "ring", "before", _ring_of),
    ("inside {}, after the effect", FileBell, "ring", "after", _ring_of),
    ("before the completion of {}", SqlAlchemyOutbox, "settle", "before", _delivery_to),
    ("after the completion of {}", SqlAlchemyOutbox, "settle", "after", _delivery_to),
]


def _points(handler: str, rows: Rows) -> dict[str, CrashPoint]:
    return {
        name.format(handler): CrashPoint(owner, function, moment, when(handler))
        for name, owner, function, moment, when in rows
    }


HANDLING: dict[str, CrashPoint] = {
    **_points("write_down", TRANSACTIONAL),
    "in the commit of polish": CrashPoint(  # with an event that it causes
        UOW, "_write", "after", _commit_of("polish")
    ),
    **_points("announce", OUTSIDE),
    **_points("praise", OUTSIDE),  # of an event that a handler has caused
}
COMMITTING: dict[str, CrashPoint] = {
    "before the commit": CrashPoint(UOW, "commit", "before", _of_command),
    "in the commit": CrashPoint(SqlAlchemyOutbox, "store", "after"),
    "after the commit": CrashPoint(UOW, "commit", "after", _of_command),
    "before the fan-out": CrashPoint(MessageBus, "run", "before"),
}
ANSWERING: dict[str, CrashPoint] = {  # the effect has happened, and what it answered is stored
    "before the command with the answer": CrashPoint(MessageBus, "_store_answer", "before"),
    "in the commit of the answer": CrashPoint(UOW, "_write", "after", _of_answer),
    "after the commit of the answer": CrashPoint(UOW, "commit", "after", _of_answer),
}
SINGLE_STATEMENTS = "aftercommit.extensions.postgresql.autocommit:SingleStatements"
CLAIMED_AT_ONCE = CrashPoint(SINGLE_STATEMENTS, "fetch", "after", _claims)  # the answer is lost
CLAIMING: dict[str, CrashPoint] = {
    "before claiming": CrashPoint(SqlAlchemyOutbox, "claim", "before"),
    "while claiming": CrashPoint(Transaction, "commit", "before", also=CLAIMED_AT_ONCE),
    "after claiming": CrashPoint(SqlAlchemyOutbox, "claim", "after"),
}
RESCHEDULING: dict[str, CrashPoint] = {
    "before rescheduling": CrashPoint(SqlAlchemyOutbox, "record_failure", "before", _to_try_again),
    "while rescheduling": CrashPoint(Transaction, "execute_dml", "after", _setting("last_error")),
    "after rescheduling": CrashPoint(SqlAlchemyOutbox, "record_failure", "after", _to_try_again),
}
PARKING: dict[str, CrashPoint] = {
    "before parking": CrashPoint(SqlAlchemyOutbox, "record_failure", "before", _for_good),
    "while parking": CrashPoint(Transaction, "execute_dml", "after", _setting("parked_at")),
    "after parking": CrashPoint(SqlAlchemyOutbox, "record_failure", "after", _for_good),
}


def _that_writes(begin: Callable[[], object], *args: object) -> bool:
    return begin.__name__ == "write_transaction"


REPLAYING: dict[str, CrashPoint] = {
    "before replaying": CrashPoint(REPLAY, "_enqueue", "before"),
    "while replaying, in the commit": CrashPoint(REPLAY, "_enqueue", "after"),
    "after replaying": CrashPoint(BATCHES, "_run_batch", "after", _that_writes),
}
FORGETTING: dict[str, CrashPoint] = {
    "before forgetting": CrashPoint(FORGETTING_MODULE, "_delete_done", "before"),
    "while forgetting": CrashPoint(FORGETTING_MODULE, "_delete_done", "after"),
    "after forgetting events": CrashPoint(BATCHES, "_run_batch", "after"),
    "while forgetting commands": CrashPoint(FORGETTING_MODULE, "_delete_commands", "after"),
}
CONSUMING: dict[str, CrashPoint] = {
    "before the command of a message": CrashPoint(MessageBus, "execute", "before"),
    "in the commit of its command": CrashPoint(SqlAlchemyOutbox, "store", "after"),
    "before the acknowledgement": CrashPoint(CONSUMER, "_acknowledge", "before"),
    "after the acknowledgement": CrashPoint(CONSUMER, "_acknowledge", "after"),
}
DEAD_LETTERING: dict[str, CrashPoint] = {
    "before dead-lettering": CrashPoint(BROKER, "dead_letter", "before"),
    "after dead-lettering": CrashPoint(BROKER, "dead_letter", "after"),
}
CRASH_POINTS = {
    **COMMITTING,
    **HANDLING,
    **ANSWERING,
    **CLAIMING,
    **RESCHEDULING,
    **PARKING,
    **REPLAYING,
    **FORGETTING,
    **CONSUMING,
    **DEAD_LETTERING,
}

if __name__ == "__main__":
    point, *arguments = sys.argv[1:]
    CRASH_POINTS[point].arm()
    cli(arguments)
