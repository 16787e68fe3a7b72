"""What runs beside the worker of `running()`: it prunes where it was asked to, and says so else."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Outbox, on
from anyio import to_thread

from aftercommit_tests.inside.operations import old_events, queue_metrics
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.misbehaving import LIMIT_SECONDS
from aftercommit_tests.outbox.orders import OrderPlaced, Shop, open_shop, until

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

DAY = 86400.0


async def pack(event: OrderPlaced) -> None:
    """Do what is done at once."""


async def age(shop: Shop, number: int, days: float) -> None:
    """Let an order have been placed so many days ago."""
    event = tables.events.c
    older = sa.update(tables.events).values(recorded_at=event.recorded_at - days * DAY)
    async with shop.session() as session, session.begin():
        await session.execute(older.where(event.subject == str(number)))


async def placed(shop: Shop, *ages: float) -> None:
    """Place orders so many days ago, each of which is done by now."""
    async with shop.outbox.running():
        for number in range(len(ages)):
            await shop.order(number)
        await until(shop.is_done)
    for number, days in enumerate(ages):
        await age(shop, number, days)


async def left(shop: Shop) -> list[str]:
    """Return which orders have an event."""
    return [row.subject for row in await shop.rows(tables.events.c.subject)]


def left_are(shop: Shop, *orders: str) -> Callable[[], Awaitable[bool]]:
    """Return a condition: these orders, and no others, have an event."""

    async def are_left() -> bool:
        return await left(shop) == list(orders)

    return are_left


async def test_running_prunes_what_is_older_than_the_setting(
    database_url: str, anyio_backend: str
) -> None:
    """Any number of processes do, at once; what is not done stays, however old."""
    async with open_shop(database_url, anyio_backend, pack, retention_days=30) as shop:
        await placed(shop, 31, 29, 31, 100)
        delivery, event = tables.deliveries.c, tables.events.c
        third = delivery.event_id.in_(sa.select(event.id).where(event.subject == "2"))
        async with shop.session() as session, session.begin():
            parked = sa.update(tables.deliveries).values(completed_at=None, parked_at=1)
            await session.execute(parked.where(third))

        async with AsyncExitStack() as opened:
            rows = [on(OrderPlaced, pack)]
            for _ in range(3):
                other = Outbox("shop", database_url, rows, retention_days=30)
                await opened.enter_async_context(other.running())
            await until(left_are(shop, "1", "2"))


async def test_without_the_setting_nothing_is_pruned_and_a_warning_names_the_line(
    database_url: str, anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only an operator knows what may go: `once` also forgets what was pruned. A metric counts."""
    caplog.set_level(logging.WARNING)
    line = "2 events are older than 90 days, and nothing deletes old events; SHOP_RETENTION_DAYS=90"
    async with open_shop(database_url, anyio_backend, pack) as shop:
        await placed(shop, 91, 89, 1000)
        assert line not in caplog.text

        async with shop.outbox.running():
            with anyio.fail_after(LIMIT_SECONDS):
                while line not in caplog.text:  # noqa: ASYNC110 - the log has no event
                    await anyio.sleep(0.01)

        assert await left(shop) == ["0", "1", "2"]
        app = shop.outbox.app
        async with app.open(app.load({}), delivers=False) as application:
            metrics = await queue_metrics(application.database, ["pack"])
        [old] = [each for each in metrics if each.name == "shop_old_events"]
        assert [sample.value for sample in old.samples] == [2]


async def test_what_is_old_is_counted_up_to_a_limit(
    database_url: str, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of ten million rows is no reason to read ten million rows."""
    async with open_shop(database_url, anyio_backend, pack) as shop:
        await placed(shop, 91, 91, 91)
        monkeypatch.setattr(old_events, "MOST_COUNTED", 2)
        app = shop.outbox.app
        async with (
            app.open_database(app.load({})) as database,
            database.read_transaction() as transaction,
        ):
            count = await old_events.count_old_events(transaction, database)

    told = old_events.nothing_prunes(count, app.settings())
    assert told.startswith("2 or more events are older than 90 days")


async def test_running_sync_prunes_too(database_url: str, anyio_backend: str) -> None:
    """It is the same in a thread."""
    async with open_shop(database_url, anyio_backend, pack, retention_days=30) as shop:
        await placed(shop, 31, 29)
        running, is_pruned = shop.outbox.running_sync(), left_are(shop, "1")

        await to_thread.run_sync(running.__enter__)
        try:
            await until(is_pruned)
        finally:
            await to_thread.run_sync(running.__exit__, None, None, None)
