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
from aftercommit import Application
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker
from anyio import to_thread

from aftercommit_tests.builders import a_command, table
from aftercommit_tests.inside.stored import states, tables
from aftercommit_tests.things.app import Settings, bootstrap
from aftercommit_tests.things.bell import Bell
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork

LIMIT_SECONDS = 180
LEASE_SECONDS, TIMEOUT_SECONDS = 15.0, 10.0
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
        with self._filler.open("ab", buffering=0) as file:
            for size in (65536, 512):  # nearly all of it, and the rest
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))


async def main(disk: Disk) -> None:
    """Print the attempts of each delivery, whether it is parked or done, and the errors."""

    async def write_down(event: ThingMade, uow: UnitOfWork) -> None:
        await disk.fill()
        uow.write(event.name + "x" * 100_000)

    async def announce(event: ThingMade, bell: Bell) -> None:
        await disk.is_full.wait()  # done, but this cannot be stored

    handlers = table({**HANDLERS.events, ThingMade: [write_down, announce]})
    settings = Settings(
        database_url=f"sqlite:///{disk.folder / 'test.db'}",
        dispatch="worker",
        lease_seconds=LEASE_SECONDS,
        handler_timeout_seconds=TIMEOUT_SECONDS,
        max_attempts=1,
        retry_initial_seconds=0.1,
        retry_max_seconds=0.1,
    )
    async with bootstrap(settings, handlers=handlers) as application:
        for _ in range(3):
            await application.bus.execute(a_command())
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
    due = (
        ~tables.FINISHED,
        ~tables.PARKED,
        ~states.is_scheduled(application.database.clock),
    )
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
