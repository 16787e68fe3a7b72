"""Counts what one registration with a coupon asks of the database: statements, and commits.

Counted by SQLite itself, with handlers one after the other: those that end together share a
statement, and who does is chance. BEGIN, COMMIT and ROLLBACK are no statements here.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import event

from allocation.bootstrap import Application, bootstrap
from allocation.service_layer.envelopes import Envelope
from benchmarks.application import registration, settings_for
from benchmarks.files import new_file
from benchmarks.measuring import Contest, Effort, Goal
from benchmarks.results import Topic

WHY = (
    "24 statements, of which four insert several rows. The read model is made anew each time "
    "what it shows has changed: lock, delete, insert, three times. One statement that knows "
    "how to merge is another one for each kind of database, and cannot say which row was "
    "locked; so the portable three stay."
)


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
    """Collect the statements of every connection that is taken from now on."""

    @event.listens_for(application.database.engine.sync_engine, "checkout")
    def collect(connection: Any, *_: object) -> None:
        connection.run_async(lambda driver: driver.set_trace_callback(said.append))


async def one_by_one(application: Application, events: tuple[Envelope, ...]) -> None:
    """Handle events that were committed, and what follows, one handler after the other."""
    bus = application.bus
    for envelope in events:
        handlers = bus.envelope_factory.subscribers(envelope)
        for delivery in bus.policy.first_attempts(envelope, handlers):
            await bus.deliver([delivery])


def commits() -> int:
    """Count the transactions that write; the others are rolled back."""
    return asked().count("COMMIT")


def statements() -> int:
    """Count the statements in all of them."""
    return sum(not said.startswith(("BEGIN", "COMMIT", "ROLLBACK", "--")) for said in asked())


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield both counts."""
    for what, count, goal in (
        ("statements", statements, Goal(21, at_most=True)),
        ("transactions that write", commits, Goal(7, at_most=True)),
    ):
        yield Contest(what=what, unit="", ours=count, goal=goal, rounds=1)


TOPIC = Topic(
    name="statements",
    title="Statements of a registration",
    meaning=(
        "What the database is asked for one registration with a coupon, without BEGIN and COMMIT."
        " A row that is inserted with others is one statement each, as SQLite counts."
    ),
    contests=contests,
    why=WHY,
)
