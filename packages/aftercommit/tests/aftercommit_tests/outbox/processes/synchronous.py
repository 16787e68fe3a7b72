"""A script without an event loop, whose handlers are made with `def`.

python -m aftercommit_tests.outbox.processes.synchronous WHAT, as one of the functions is called
"""

import atexit
import os
import signal
import sys
import time
from contextlib import ExitStack

import sqlalchemy as sa
from aftercommit import Outbox, on
from aftercommit.errors import WiringError
from aftercommit.sqlite import prepare
from sqlalchemy.orm import Session

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import Base, Order, OrderPlaced

URL = os.environ["SHOP_DATABASE_URL"]
SLEEPS_SECONDS = 3600.0
LIMIT_SECONDS = 180.0

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
        if (child := os.fork()) == 0:
            wait_until_done_here(1000)
        else:
            wait_until_done_here(2000)
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert has_done_all()


def forks_and_leaves_at_once() -> None:
    """Have children that are forked while the worker runs, place an order and leave."""
    with outbox.running_sync():
        place(1)
        wait_until_done()
        engine.dispose()
        for number in range(2, 8):
            if (child := os.fork()) == 0:
                place(number)
                break
            _, status = os.waitpid(child, 0)
            assert status == 0, status


def forks_on_sqlite() -> None:
    """Have a child that is forked while the worker runs, and wants to place an order."""
    with outbox.running_sync():
        place(1)
        wait_until_done()
        engine.dispose()
        if (child := os.fork()) == 0:
            try:
                place(2)
            except WiringError as error:
                sys.stdout.write(str(error))
                sys.stdout.flush()
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status


if __name__ == "__main__":
    Base.metadata.create_all(engine)
    globals()[sys.argv[1]]()
    engine.dispose()
    sys.stdout.write("the end\n")
