"""The playground: everything there is to break, opened and closed together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio
from aftercommit import Application
from aftercommit.database.exceptions import DatabaseLocked
from aftercommit.extensions.operations.causation_tree import Node
from aftercommit.extensions.operations.trace_queries import read_traces
from anyio import CancelScope, fail_after

from allocation.config import Settings
from playground import verdict_counts
from playground.fault_proxy import FaultProxy
from playground.mail import Mailboxes, mail_server
from playground.processes import COMMANDS, CURRENT, Child
from playground.reaper import Sandbox
from playground.registration_client import Registered, RegistrationClient

T = TypeVar("T")

DATABASE = "playground.db"
SETTINGS = {  # short, so that nobody has to wait long
    "dispatch": "worker",
    "lease_seconds": "5",
    "handler_timeout_seconds": "4",
    "retry_initial_seconds": "0.5",
    "retry_factor": "2",
    "retry_max_seconds": "4",
    "max_attempts": "20",
}
COUPONS = 10
POLL_SECONDS = 0.05
LIMIT_SECONDS = 120.0


@dataclass(slots=True)
class Playground:
    """What a user at the panel can reach, and the database to read."""

    application: Application
    sandbox: Sandbox
    settings: dict[str, str]  # of the processes
    children: dict[str, Child]
    mailboxes: Mailboxes
    proxy: FaultProxy
    registrations: RegistrationClient

    async def replace(self, version: str) -> None:
        """Replace all processes by another version of the program."""
        for child in self.children.values():
            await child.kill()
            await child.start(version=version)

    async def freeze(self, child: Child) -> None:
        """Freeze a process, but not while it holds the database's write lock.

        With the lock, it would stop all the others, and so show nothing about itself.
        """
        while True:
            child.freeze()
            try:
                async with self.application.database.write_transaction():
                    return
            except DatabaseLocked:
                child.thaw()
                await anyio.sleep(POLL_SECONDS)

    async def restore(self) -> None:
        """Restore the state of the start."""
        self.mailboxes.unknown.clear()
        await self.proxy.set_mode("up")
        for child in self.children.values():
            child.thaw()
            if child.version != CURRENT:
                await child.kill()
            await child.start()

    async def run(self, *arguments: str, version: str) -> int:
        """Run another command of the program to its end; return its exit code."""
        child = Child(arguments[0], self.sandbox, self.settings)
        await child.start(*arguments, version=version)
        return await child.ended()

    async def fill_up_coupons(self, name: str) -> int:
        """Make sure that COUPONS are left, or more if there were more; return how many are left."""
        left = (await verdict_counts.count_coupons(self.application.database)).remaining
        if left < COUPONS:
            batch = {"reference": name, "quantity": COUPONS - left}
            await self.registrations.post("/coupon-batches", batch)
        return max(left, COUPONS)

    async def deliveries(self, *users: Registered) -> Sequence[Node]:
        """Return all deliveries in the traces of these users, except delayed ones."""
        database, ids = self.application.database, [user.trace for user in users]
        async with database.read_transaction() as transaction:
            nodes = (await read_traces(transaction, database, ids, limit=None)).nodes
        return [node for node in nodes if node.kind == "delivery" and node.state != "scheduled"]

    async def delivery(self, user: Registered, handler: str) -> Node:
        """Return one delivery in the trace of a user."""
        return next(each for each in await self.deliveries(user) if each.name == handler)


async def wait_for(find: Callable[[], Awaitable[T | None]]) -> T:
    """Return what is found, as soon as something is.

    :raises TimeoutError: if nothing is found for a long time
    """
    with fail_after(LIMIT_SECONDS):
        while not (found := await find()):  # noqa: ASYNC110 it is other processes' work
            await anyio.sleep(POLL_SECONDS)
    return found


def is_email_handler(handler: str) -> bool:
    """Tell whether a handler sends an e-mail."""
    return handler.startswith(("send_", "notify_", "announce_"))


@asynccontextmanager
async def playground(
    application: Application, sandbox: Sandbox, settings: Settings, token: str
) -> AsyncIterator[Playground]:
    """Start everything; at the end, remove all of it."""
    async with mail_server(sandbox.folder) as (mailboxes, proxy):
        given = {
            **SETTINGS,
            "database_url": settings.database_url,
            "mail_url": f"smtp://127.0.0.1:{proxy.port}",
            "operator_token": token,
            "event_loop": settings.event_loop,
            "log_level": settings.log_level or "warning",
        }
        children = {name: Child(name, sandbox, given) for name in COMMANDS}
        registrations = RegistrationClient(children["web"], token)
        play = Playground(application, sandbox, given, children, mailboxes, proxy, registrations)
        try:
            for child in children.values():
                await child.start()
            yield play
        finally:
            with CancelScope(shield=True):
                for child in children.values():
                    await child.kill()
