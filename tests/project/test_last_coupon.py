"""Two processes want the last coupon: docs/life-of-a-delivery.md shows what each of them asks."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import anyio
import pytest
from aftercommit import Application
from sqlalchemy import Connection, event

from allocation.adapters.repositories import SqlAlchemyCouponBatches
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.coupons import CouponBatch
from allocation.entrypoints.app import APP
from tests.builders import a_batch, a_registration
from tests.project.generated import LIFE

pytestmark = pytest.mark.anyio

PAGE = LIFE.read_text().partition("## Two processes and the last coupon")[2]
HANDLER = "allocate_welcome_coupon"
SHORTENED = (
    (r"\s+", " "),
    (r"\b(?:coupon_batches|coupons|aftercommit_\w+)\.(?=\w)", ""),
    (r"\$\d+(?:::[A-Z]+)?", "?"),
    (r"SELECT EXISTS .*", "SELECT EXISTS (…)"),
    (r"SELECT .*? FROM", "SELECT … FROM"),
    (r" LIMIT.*?(?= FOR UPDATE|$)", " LIMIT 1"),
    (r"(ORDER BY exhaustion_notified_on).*?(?= LIMIT)", r"\1 …"),
    (r"INSERT INTO (\w+) .*", r"INSERT INTO \1 …"),
    (
        r"SET (?!remaining|exh).* WHERE (event_id = \? AND handler = \? AND token = \?).*",
        r"SET … WHERE \1 …",
    ),
)


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """What is asked of a database does not depend on the event loop."""
    return str(request.param)


@pytest.fixture
async def processes(each_settings: Settings) -> AsyncIterator[list[Application]]:
    """Two of them; one coupon is left, and each has claimed the delivery of another user."""
    settings = replace(each_settings, dispatch="worker")
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(bootstrap(APP, settings)) for _ in range(2)]


async def test_the_page_follows_two_processes(
    processes: list[Application], each_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one asks when the first has the row, and before it commits."""
    first, second = processes
    await first.bus.handle(a_batch(quantity=1))
    for name in ("first", "second"):
        await first.bus.handle(a_registration(email=f"{name}@example.com"))
    [one] = await first.bus.outbox.claim(1, [HANDLER])
    [two] = await second.bus.outbox.claim(1, [HANDLER])
    has_it, asks = anyio.Event(), anyio.Event()
    load, asked = SqlAlchemyCouponBatches.next_available, list[str]()

    async def next_available(self: SqlAlchemyCouponBatches) -> CouponBatch:
        batch = await load(self)
        if not has_it.is_set():
            has_it.set()
            await asks.wait()
        return batch

    begun: list[Connection] = []  # on another one, a process may still notify workers

    def note(number: int, connection: Connection, statement: str) -> None:
        if "coupon_batches" in statement or statement.startswith("BEGIN"):
            begun.append(connection)
            if number == 2:
                asks.set()
        if connection in begun and f"{number}: COMMIT" not in asked:
            asked.append(f"{number}: {shortened(statement)}")

    monkeypatch.setattr(SqlAlchemyCouponBatches, "next_available", next_available)
    listen(first, partial(note, 1))
    listen(second, partial(note, 2))
    async with anyio.create_task_group() as group:
        group.start_soon(first.bus.run, [one])
        await has_it.wait()
        group.start_soon(second.bus.run, [two])

    database = "SQLite" if each_settings.database_url.startswith("sqlite") else "PostgreSQL"
    assert asked == shown(database)


def listen(process: Application, note: Callable[[Connection, str], None]) -> None:
    engine = process.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *a: note(a[0], a[2]))
    event.listen(engine, "commit", lambda connection: note(connection, "COMMIT"))


def shown(database: str) -> list[str]:
    """Return the column of the page: which process asks what."""
    table = [line.split(" | ") for line in PAGE.splitlines() if line[:1] == "|"]
    column = [cell.strip(" |") for cell in table[0]].index(database)
    rows = [(row[0].strip("| "), row[column].strip(" |")) for row in table[2:]]
    return [f"{number}: {asked.split('`')[1]}" for number, asked in rows if asked.startswith("`")]


def shortened(statement: str) -> str:
    for pattern, text in SHORTENED:
        statement = re.sub(pattern, text, statement)
    return statement.strip()
