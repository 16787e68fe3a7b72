"""A script without an event loop, whose handlers are made with `def`.

python -m aftercommit_tests.outbox.processes.synchronous WHAT, as one of the functions is called
"""

import asyncio
import atexit
import os
import signal
import sys
import time
from asyncio import BaseEventLoop
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from gc import get_objects
from typing import Any

import anyio
import sqlalchemy as sa
from aftercommit import Outbox, on
from aftercommit.errors import WiringError
from aftercommit.sqlite import prepare
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import Base, Order, OrderPlaced

URL = os.environ["SHOP_DATABASE_URL"]
ASYNC_URL = URL.replace("sqlite:", "sqlite+aiosqlite:")
SLEEPS_SECONDS = 3600.0
LIMIT_SECONDS = 180.0
WAKES_PARENT = 4  # an exit status

engine = sa.create_engine(URL.replace("postgresql:", "postgresql+psycopg:"))
prepare(engine)
done_by = set[int]()


def reserve(event: OrderPlaced, session: Session) -> None:
    """Have an effect in the database, and die in the middle of it, if that is asked for."""
    session.get_one(Order, event.order_id).reserved += 1
    session.flush()
    if "dies" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    if "sleeps" in (*sys.argv, os.environ.get("SLEEPS")):
        sys.stdout.write("sleeps\n")
        sys.stdout.flush()
        time.sleep(SLEEPS_SECONDS)
    done_by.add(os.getpid())


def confirm(event: OrderPlaced) -> None:
    """Have an effect outside."""
    if "sleeps" in (*sys.argv, os.environ.get("SLEEPS")):
        sys.stdout.write("sleeps\n")
        sys.stdout.flush()
        time.sleep(SLEEPS_SECONDS)


outbox = Outbox("shop", URL, [on(OrderPlaced, reserve, confirm)], lease_seconds=60)


def place(number: int) -> None:
    with Session(engine) as session, session.begin():
        session.add(Order(id=number))
        outbox.record_sync(session, OrderPlaced(number), about=number)


def has_done_all() -> bool:
    with Session(engine) as session:
        left = sa.select(tables.deliveries.c.handler)
        return session.execute(left.where(tables.deliveries.c.completed_at.is_(None))).all() == []


def wait_until_done() -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not has_done_all():
        assert time.monotonic() < end
        time.sleep(0.02)


def wait_until_done_here(number: int) -> None:
    """Place orders until one of them is reserved by this process: others work on them, too."""
    while os.getpid() not in done_by:
        place(number)
        wait_until_done()
        number += 1


def leaves_it() -> None:
    with outbox.running_sync():
        place(1)
        wait_until_done()


def dies() -> None:
    with outbox.running_sync():
        place(1)
        time.sleep(SLEEPS_SECONDS)


def goes_on() -> None:
    with outbox.running_sync():
        wait_until_done()


def sleeps() -> None:
    with outbox.running_sync():
        place(1)
        sys.stdin.readline()


def forgets_to_leave_it() -> None:
    globals()["context"] = outbox.running_sync()
    globals()["context"].__enter__()
    place(1)
    wait_until_done()


def leaves_it_at_exit() -> None:
    stack = ExitStack()
    atexit.register(stack.close)
    stack.enter_context(outbox.running_sync())
    place(1)
    wait_until_done()


def forks() -> None:
    """Have a child that is forked while the worker runs, and do what both have placed."""
    with outbox.running_sync():
        place(1)
        wait_until_done()
        engine.dispose()  # or both would use its connections
        loops: list[Any] = [each for each in get_objects() if isinstance(each, BaseEventLoop)]
        assert loops
        if (child := os.fork()) == 0:
            for loop in loops:  # they are the parent's: what wakes one would wake the parent
                loop._write_to_self = partial(os._exit, WAKES_PARENT)
            wait_until_done_here(1000)
        else:
            wait_until_done_here(2000)
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert has_done_all()


def forks_and_leaves() -> None:
    """Have a child that is forked while the worker runs, commits, and leaves at once."""
    with outbox.running_sync():
        place(1)
        wait_until_done()
        engine.dispose()  # or both would use its connections
        if (child := os.fork()) == 0:
            place(2)
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0, status


def forks_on_sqlite() -> None:
    """Have a child that is forked while the worker runs, and wants to use the outbox."""
    with outbox.running_sync():
        _forks_on_sqlite()


def forks_on_sqlite_beside_a_loop() -> None:
    """Do the same beside `running()`."""

    async def main() -> None:
        async with outbox.running():
            _forks_on_sqlite()

    anyio.run(main)


def _forks_on_sqlite() -> None:
    engine.dispose()
    if (child := os.fork()) == 0:
        are_refused = False
        try:
            uses = [outbox.record, outbox.record_sync, outbox.once, outbox.once_sync]
            with ThreadPoolExecutor(1) as executor:  # the parent's event loop runs in this one
                are_refused = all(executor.map(_is_refused, uses))
        finally:
            os._exit(0 if are_refused else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status


def _is_refused(use: Any) -> bool:
    """Call a method of the outbox, and tell whether it refuses the session."""
    arguments = ("shop.example", "1") if "once" in use.__name__ else (OrderPlaced(2),)
    options = {} if "once" in use.__name__ else {"about": 2}

    async def use_it() -> None:
        async with AsyncSession(create_async_engine(ASYNC_URL)) as session:
            await use(session, *arguments, **options)

    try:
        if "sync" in use.__name__:
            with Session(engine) as session:
                use(session, *arguments, **options)
        else:
            asyncio.run(use_it())
    except WiringError as error:
        sys.stdout.write(f"{error}\n")
        sys.stdout.flush()
        return True
    return False


if __name__ == "__main__":
    Base.metadata.create_all(engine)
    globals()[sys.argv[1]]()
    engine.dispose()
    sys.stdout.write("the end\n")
