"""Measures the cost of one registration here, and in a plain function that writes one row.

    python -m benchmarks.price

It takes a minute and writes the tables of docs/price.md. Each way has a SQLite file, on the same
disk.
"""

import platform
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import Any
from uuid import uuid4

import anyio
from aftercommit import Application
from sqlalchemy import event

from allocation.config import Settings
from allocation.domain.commands import AddCouponBatch
from allocation.entrypoints.app import APP
from benchmarks import guarantee_costs, price_ways
from benchmarks.measured_application import registration
from tools.generated import write_run
from tools.repository import ROOT

PAGE = ROOT / "docs" / "price.md"
REPEATS = 200
ONCE_A_SECOND = "SELECT aftercommit_handler_pauses.handler"


def register(connection: sqlite3.Connection, name: str, email: str) -> None:
    """Write one row. No rule is checked, no event is stored, and nothing else is done."""
    with connection:
        connection.execute("INSERT INTO users VALUES (?, ?, ?)", (str(uuid4()), name, email))


class Meter:
    """Measures something repeatedly; `statements` are those of the last time."""

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked
        self._seconds: list[float] = []

    @contextmanager
    def once(self) -> Iterator[None]:
        """Measure the body, whose statements are collected in `asked`."""
        self._asked.clear()
        started = time.perf_counter()
        yield
        self._seconds.append(time.perf_counter() - started)
        self.statements = list(self._asked)

    @property
    def milliseconds(self) -> float:
        """The shortest time: longer ones were disturbed."""
        return min(self._seconds) * 1000


def of_function(folder: Path, times: int = REPEATS) -> Meter:
    """Measure the plain function."""
    asked: list[str] = []
    meter = Meter(asked)
    with closing(sqlite3.connect(folder / "plain.db")) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT, email TEXT UNIQUE)")
        connection.set_trace_callback(asked.append)
        for n in range(times):
            with meter.once():
                register(connection, "Иван", f"{n}@example.com")
    return meter


async def of_application(folder: Path, times: int = REPEATS) -> tuple[Meter, Meter]:
    """Measure a command; and then its events, with all that follows from them.

    The last time, from which the statements are taken, handlers run one after the other, because
    handlers that end together share a statement by chance.
    """
    asked: list[str] = []
    command, rest = Meter(asked), Meter(asked)
    settings = Settings(database_url=f"sqlite:///{folder}/allocation.db")
    async with APP.open(settings) as application:
        _listen(application, asked)
        await application.bus.handle(AddCouponBatch(reference="WELCOME", quantity=times + 1))
        for is_last in [False] * times + [True]:
            with command.once():
                committed = await application.bus.execute(registration())
            claims = committed.claims
            with rest.once():
                for some in [[claim] for claim in claims] if is_last else [claims]:
                    await application.bus.run(some)
    return command, rest


def _listen(application: Application, asked: list[str]) -> None:
    """Collect the statements of every connection that is taken from now on.

    It leaves out the queries that a process sends once a second in any case. Before a trigger,
    SQLite reports the statement again; it is counted once.
    """

    def note(statement: str) -> None:
        if not statement.startswith(ONCE_A_SECOND) and asked[-1:] != [statement]:
            asked.append(statement)

    @event.listens_for(application.database.engine.sync_engine, "checkout")
    def collect(connection: Any, *_: object) -> None:
        connection.run_async(lambda driver: driver.set_trace_callback(note))


def costs(folder: Path, times: int = REPEATS) -> dict[str, Meter]:
    """Measure both ways, and return what each takes."""
    function = of_function(folder, times)
    command, rest = anyio.run(of_application, folder, times)
    return {
        "a function that inserts the row": function,
        "the command, stored with its event and deliveries": command,
        "its handlers: log, coupon, two e-mails, read model": rest,
    }


def table(costs: dict[str, Meter]) -> Iterator[str]:
    """Yield the table."""
    yield "| one registration | statements | commits | time |"
    yield "|---|---|---|---|"
    for what, cost in costs.items():
        statements, commits = len(cost.statements), cost.statements.count("COMMIT")
        shown = f"{float(f'{cost.milliseconds:.2g}'):g} ms"
        yield f"| {what} | {statements} | {commits} | {shown} |"
    yield from measured_with(f"the shortest of {REPEATS} times")


def measured_with(how: str) -> list[str]:
    """Return a paragraph about when, how and with what it was measured."""
    said = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}, SQLAlchemy {version('sqlalchemy')}, AnyIO {version('anyio')}; "
        f"{how}."
    )
    return ["", *wrap(said, width=100)]


if __name__ == "__main__":
    with TemporaryDirectory(dir=".", prefix=".benchmarks-") as folder:  # a disk, not memory
        write_run("price", table(costs(Path(folder))), PAGE)
        alone = guarantee_costs.table(Path(folder), REPEATS)
        write_run("alone", [*alone, *measured_with(f"the median of {REPEATS} times")], PAGE)
        if missing := [way.what for way in price_ways.WAYS if not way.is_there]:
            sys.exit(f"{', '.join(missing)} cannot be tried; run: make .venv/installed-bench")
        one_use_case = price_ways.table(Path(folder))
        write_run(
            "ways", [*one_use_case, *measured_with(f"the least of {price_ways.TIMES} times")], PAGE
        )
