"""A worker on a small file system that gets full while its handlers run, each in its last attempt.

Run as `full_disk FOLDER LOOP`, where nobody else minds what is mounted: see `test_full_disk.py`.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import click
import sqlalchemy as sa
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from aftercommit.process.worker import Worker
from aftercommit.sql import tables
from aftercommit.sql.delivery_states import is_scheduled
from anyio import to_thread

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.events import Event, UserRegistered
from allocation.service_layer.handlers import HANDLERS
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import a_registration, table

LIMIT_SECONDS = 180
LEASE_SECONDS = 4.0
SIZE = "4m"  # the database has a third of it


class Disk:
    """A file system, and who uses up all its space."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / "filler"
        self.is_full, self._may_be_filled = anyio.Event(), True

    async def fill(self) -> None:
        """Leave no space, once."""
        if self._may_be_filled:
            self._may_be_filled = False
            await to_thread.run_sync(self._fill)
            self.is_full.set()

    async def free(self) -> None:
        """Give the space back."""
        await to_thread.run_sync(self._filler.unlink)

    def _fill(self) -> None:
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))


async def main(disk: Disk) -> None:
    """Print the attempts of each delivery, whether it is parked or done, and the errors."""

    async def log_registration(event: UserRegistered, uow: UnitOfWork) -> None:
        await disk.fill()
        await uow.registration_log.append(event.user_id, event.email + "x" * 100_000)

    async def tell_others(event: Event, idempotency_key: str) -> None:
        await disk.is_full.wait()  # done, but this cannot be stored

    both = [log_registration, tell_others]
    handlers = table({**HANDLERS.events, UserRegistered: both}, HANDLERS.commands)
    settings = Settings(
        database_url=f"sqlite:///{disk.folder / 'test.db'}",
        mail_url=f"maildir:{disk.folder.parent / 'mail'}",
        dispatch="worker",
        lease_seconds=LEASE_SECONDS,
        handler_timeout_seconds=2.0,
        max_attempts=1,
        retry_initial_seconds=0.1,
        retry_max_seconds=0.1,
    )
    async with bootstrap(settings, handlers=handlers) as application:
        for number in range(3):
            await application.bus.execute(a_registration(email=f"user{number}@example.com"))
        worker = Worker(application, Shutdown(), concurrency=20)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            with anyio.fail_after(LIMIT_SECONDS):
                await disk.is_full.wait()
                await anyio.sleep(2 * LEASE_SECONDS)
                await disk.free()
                while await outstanding(application):  # noqa: ASYNC110
                    await anyio.sleep(0.1)
            group.cancel_scope.cancel()
        await report(application)


async def outstanding(application: Application) -> int:
    """Return how many deliveries are neither done nor parked."""
    due = ~tables.FINISHED, ~tables.PARKED, ~is_scheduled(application.database.clock)
    async with application.database.read_transaction() as transaction:
        counted = sa.select(sa.func.count()).select_from(tables.deliveries).where(*due)
        return int((await transaction.execute(counted)).scalar_one())


async def report(application: Application) -> None:
    """Print what has become of all deliveries, and the failures on the way."""
    row = tables.deliveries.c
    found: sa.Select[Any] = sa.select(row.handler, row.attempts, row.parked_at, row.last_error)
    async with application.database.read_transaction() as transaction:
        for each in await transaction.execute(found):
            state = "done" if each.parked_at is None else f"parked {each.last_error}"
            click.echo(f"{each.handler}: attempts {each.attempts}, {state}")
        for error in (await transaction.execute(sa.select(tables.failures.c.error))).scalars():
            click.echo(f"failure: {error}")


if __name__ == "__main__":
    folder, loop = Path(sys.argv[1]), sys.argv[2]
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    anyio.run(lambda: main(Disk(folder)), backend=loop)
