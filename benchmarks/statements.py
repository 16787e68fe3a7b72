"""What one registration with a coupon asks of the database, collected by SQLite itself.

Handlers run one after the other: those that end together share a statement, and who does is chance.
"""

from functools import cache
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import event

from allocation.bootstrap import Application, bootstrap
from allocation.service_layer.deliveries import Committed
from benchmarks.application import registration, settings_for
from benchmarks.databases import new_file

ONCE_A_SECOND = "SELECT handler_pauses.handler"


@cache
def asked() -> list[str]:
    """Return what SQLite is asked for one registration, and all that follows from it."""
    with new_file() as file:
        return anyio.run(_asked, file)


async def _asked(file: Path) -> list[str]:
    said: list[str] = []
    async with bootstrap(settings_for(f"sqlite:///{file}")) as application:
        listen(application, said)
        await application.bus.handle(registration())
        said.clear()
        await one_by_one(application, await application.bus.execute(registration()))
        return list(said)


def listen(application: Application, said: list[str]) -> None:
    """Collect the statements of every connection that is taken from now on.

    Left out is what a process asks once a second, whatever it does.
    """

    def note(statement: str) -> None:
        if not statement.startswith(ONCE_A_SECOND):
            said.append(statement)

    @event.listens_for(application.database.engine.sync_engine, "checkout")
    def collect(connection: Any, *_: object) -> None:
        connection.run_async(lambda driver: driver.set_trace_callback(note))


async def one_by_one(application: Application, committed: Committed) -> None:
    """Handle events that were committed, and what follows, one handler after the other."""
    for claim in committed.claims:
        await application.bus.run_deliveries([claim])
