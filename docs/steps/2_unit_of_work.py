"""Step 2: the unit of work of the book, and why handlers must not share one.

Before, an event that is published too soon may never happen. Now, events leave after the commit.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from inspect import getsourcelines
from mailbox import Maildir
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import aiosqlite
import anyio

FOLDER = TemporaryDirectory()
MAIL = Maildir(f"{FOLDER.name}/mail")
TABLES = "CREATE TABLE users (email); CREATE TABLE batch (coupons CHECK (coupons >= 0));"
Handler = Callable[[Any, "UnitOfWork"], Awaitable[None]]


class UserRegistered(NamedTuple):
    email: str


class CouponAllocated(NamedTuple):
    email: str


@dataclass
class UnitOfWork:  # one transaction, and the events that were recorded in it
    database: aiosqlite.Connection
    events: list[object] = field(default_factory=list)

    async def __aenter__(self) -> None:
        await self.database.execute("BEGIN")

    async def commit(self) -> None:
        await self.database.commit()

    async def __aexit__(self, *error: object) -> None:
        await self.database.rollback()  # what was committed stays

    def collect_new_events(self) -> list[object]:
        events, self.events = self.events, []
        return events


async def run(handler: Handler, message: object, new_uow: Callable[[], UnitOfWork]) -> None:
    """Run a handler; then, one after the other, those of the events that it has recorded."""
    try:
        async with (uow := new_uow()):
            await handler(message, uow)
        for event in uow.collect_new_events():
            for each in HANDLERS[type(event)]:
                await run(each, event, new_uow)
    except Exception as error:
        print(f"  a handler has failed: {error}")


async def register_user_too_soon(email: str, uow: UnitOfWork) -> None:
    await uow.database.execute("INSERT INTO users VALUES (?)", [email])
    await send_email("Welcome", email, uow)
    await uow.database.execute("UPDATE batch SET coupons = coupons - 1")
    await uow.commit()


async def register_user(email: str, uow: UnitOfWork) -> None:
    await uow.database.execute("INSERT INTO users VALUES (?)", [email])
    uow.events.append(UserRegistered(email))
    await uow.commit()


async def allocate_coupon(event: UserRegistered, uow: UnitOfWork) -> None:
    uow.events.append(CouponAllocated(event.email))
    await uow.database.execute("UPDATE batch SET coupons = coupons - 1")
    await uow.commit()


async def send_email(subject: str, event: object, uow: UnitOfWork) -> None:
    await anyio.to_thread.run_sync(MAIL.add, f"Subject: {subject}\n")


HANDLERS: dict[type, list[Handler]] = {
    UserRegistered: [allocate_coupon, partial(send_email, "Welcome")],
    CouponAllocated: [partial(send_email, "Your coupon")],
}


async def show(way: str, register: Handler, *, shared: bool = False) -> str:
    print(way)
    statements: list[str] = []
    async with aiosqlite.connect("") as database:
        await database.executescript(TABLES + "INSERT INTO batch VALUES (0)")  # no coupon is left
        await database.set_trace_callback(statements.append)
        started, one_for_all = perf_counter(), UnitOfWork(database)
        new_uow = (lambda: one_for_all) if shared else partial(UnitOfWork, database)
        await run(register, "ivan@example.com", new_uow)
        price = f"{len(statements)} statements, {(perf_counter() - started) * 1000:.1f} ms"
        async for (users,) in await database.execute("SELECT count(*) FROM users"):
            print(f"  users {users}, e-mails {sorted(each['Subject'] for each in MAIL)}")
    MAIL.clear()
    return price


async def main() -> None:
    await show("Before: published in the middle of work that fails", register_user_too_soon)
    await show("The book: published after the commit, a unit for all", register_user, shared=True)
    price = await show("Now: published after the commit, a unit for each", register_user)
    print("Still lost: what has not begun when the process dies after the commit.")
    lines = len(getsourcelines(UnitOfWork)[0] + getsourcelines(run)[0])
    print(f"Price: {lines} lines, {price} a registration.")
    print("Stop here if what follows may be lost when a process dies.")


with FOLDER:
    anyio.run(main)
