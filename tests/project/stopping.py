"""Runs the application, and stops it with SIGSTOP after each step that README shows.

    python -m tests.project.stopping ARGUMENTS…

Whoever has started it looks at the database, and continues or kills it.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import wraps
from typing import Any

import anyio
from aftercommit.claims import CommandWork
from aftercommit.sql.outbox import SqlAlchemyOutbox
from aftercommit.sql.unit_of_work import SqlAlchemyUnitOfWorkScope

from allocation.adapters.maildir import MaildirEmailSender
from allocation.entrypoints.app import cli

RUNNING = (
    "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL AND owner IS NOT NULL"
)

Step = Callable[[Any, Any], Awaitable[bool]]


def stop_after(owner: Any, name: str, is_step: Step) -> None:
    """Stop the process after each call of a method that is a step, by itself and its result."""
    original = getattr(owner, name)

    @wraps(original)
    async def stopping(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        if await is_step(self, result):
            os.kill(os.getpid(), signal.SIGSTOP)
        return result

    setattr(owner, name, stopping)


async def of_command(uow: Any, _: None) -> bool:
    """Take the commit of a command for a step, not those of handlers of events."""
    return isinstance(uow._work, CommandWork)


async def of_something(_: object, claimed: list[object]) -> bool:
    """Take a claim for a step if something was due."""
    return bool(claimed)


async def when_alone(*_: object) -> bool:
    """Take an e-mail for a step, as soon as the other handlers have done their work."""
    with closing(sqlite3.connect("allocation.db")) as connection:
        while connection.execute(RUNNING).fetchone() > (1,):  # noqa: ASYNC110 - no Event of ours
            await anyio.sleep(0.01)
    return True


if __name__ == "__main__":
    stop_after(SqlAlchemyUnitOfWorkScope, "commit", of_command)
    stop_after(SqlAlchemyOutbox, "claim", of_something)
    stop_after(MaildirEmailSender, "send", when_alone)
    cli(sys.argv[1:])
