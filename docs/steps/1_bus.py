"""Step 1: an event bus in thirty lines.

Before, a failure stops all that comes after it. Now, a failure stops no other handler.
"""

import smtplib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import getsourcelines
from time import perf_counter
from typing import Any, TypeVar

import aiosqlite
import anyio
from anyio.abc import SocketAttribute, SocketStream

E = TypeVar("E")
TABLES = "CREATE TABLE users (email); CREATE TABLE log (email); CREATE TABLE coupons (email)"
COUNTS = "SELECT count(*), (SELECT count(*) FROM log), (SELECT count(*) FROM coupons) FROM users"


class EventBus:
    """Calls the subscribed handlers of each event."""

    def __init__(self) -> None:
        self._handlers: dict[type, list[Callable[[Any], Awaitable[None]]]] = defaultdict(list)

    def subscribe(self, event_type: type[E], handler: Callable[[E], Awaitable[None]]) -> None:
        """Have a handler called with every event of this type."""
        self._handlers[event_type].append(handler)

    async def publish(self, event: object) -> None:
        """Call the handlers of this event, concurrently; return when each has come to its end."""
        async with anyio.create_task_group() as group:
            for handler in self._handlers[type(event)]:
                group.start_soon(self._invoke, handler, event)

    async def _invoke(self, handler: Callable[[Any], Awaitable[None]], event: object) -> None:
        try:
            await handler(event)
        except Exception as error:  # it ends nothing but this handler
            print(f"  a handler has failed, the others go on: {error}")


@dataclass(frozen=True)
class UserRegistered:
    email: str


@dataclass(frozen=True)
class Shop:
    database: aiosqlite.Connection
    mail_port: int
    bus: EventBus

    async def register_in_a_row(self, email: str) -> None:
        await self.database.execute("INSERT INTO users VALUES (?)", [email])
        await self.send_welcome_email(UserRegistered(email))
        await self.log_registration(UserRegistered(email))
        await self.allocate_coupon(UserRegistered(email))

    async def register_user(self, email: str) -> None:
        await self.database.execute("INSERT INTO users VALUES (?)", [email])
        await self.bus.publish(UserRegistered(email))

    async def send_welcome_email(self, event: UserRegistered) -> None:
        await anyio.to_thread.run_sync(send, event.email, self.mail_port)

    async def log_registration(self, event: UserRegistered) -> None:
        await self.database.execute("INSERT INTO log VALUES (?)", [event.email])

    async def allocate_coupon(self, event: UserRegistered) -> None:
        await self.database.execute("INSERT INTO coupons VALUES (?)", [event.email])


def send(recipient: str, port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as server:
        server.sendmail("shop@example.com", recipient, "Subject: Welcome")


async def refuse(client: SocketStream) -> None:  # what a mail server does when it is busy
    async with client:
        await client.send(b"421 come back later\r\n")


async def show(way: str, register: Callable[[Shop, str], Awaitable[None]], port: int) -> str:
    print(way)
    statements: list[str] = []
    async with aiosqlite.connect("", isolation_level=None) as database:  # "" is a temporary file
        await database.executescript(TABLES)
        await database.set_trace_callback(statements.append)
        shop = Shop(database, port, EventBus())
        for handler in (shop.send_welcome_email, shop.log_registration, shop.allocate_coupon):
            shop.bus.subscribe(UserRegistered, handler)
        started = perf_counter()
        try:
            await register(shop, "ivan@example.com")
        except smtplib.SMTPConnectError as error:
            print(f"  the caller gets an error: {error}")
        price = f"{len(statements)} statements, {(perf_counter() - started) * 1000:.1f} ms"
        async for users, entries, coupons in await database.execute(COUNTS):
            print(f"  users {users}, entries in the log {entries}, coupons {coupons}")
    return price


async def main() -> None:
    mail_server = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with anyio.create_task_group() as group:
        group.start_soon(mail_server.serve, refuse)
        port = mail_server.extra(SocketAttribute.local_port)
        await show("Before: in a row; the mail server refuses", Shop.register_in_a_row, port)
        price = await show("Now: by the bus, concurrently", Shop.register_user, port)
        group.cancel_scope.cancel()
    print("Still lost: the e-mail. Nobody retries it, because nothing remembers it.")
    print(f"Price: {len(getsourcelines(EventBus)[0])} lines, {price} a registration.")
    print("Stop here if what follows may be lost: a statistic, a cache, a hint on a screen.")


anyio.run(main)
