"""Traces that no command has begun: an outbox has recorded their first event in a session.

The page shows them, and `history` lists them, as it does commands; neither reads old events.
"""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aftercommit import Application, Outbox, on
from aftercommit.extensions.page import PageExtension
from aftercommit.extensions.web import WebExtension
from aftercommit.outbox.outbox import EXTENSIONS

from aftercommit_tests.asked import asked_of
from aftercommit_tests.driver_calls import Call
from aftercommit_tests.extensions.page.conftest import Viewer
from aftercommit_tests.extensions.web.running import Web, running_web
from aftercommit_tests.inside.operations import latest_commands
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.inside.web import queries
from aftercommit_tests.outbox.orders import (
    OrderPlaced,
    Shop,
    StockReserved,
    confirm,
    open_shop,
    reserve,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Shop]:
    """An application with an outbox, whose worker runs."""
    url = f"sqlite:///{tmp_path}/shop.db"
    async with open_shop(url, anyio_backend) as shop, shop.outbox.running():
        yield shop


@pytest.fixture
async def elsewhere(shop: Shop) -> AsyncIterator[Application]:
    """What an operator's command opens."""
    app = shop.outbox.app
    async with app.open(app.load({}), delivers=False) as application:
        yield application


@pytest.fixture
async def served(shop: Shop) -> AsyncIterator[Web]:
    """The page of that outbox, as `aftercommit serve` serves it, on the same database."""
    extensions = [*EXTENSIONS, WebExtension(), PageExtension()]
    rows = [on(OrderPlaced, reserve, confirm), on(StockReserved)]
    ports = {"bell": shop.bell}
    app = Outbox("shop", str(shop.engine.url), rows, ports=ports, extensions=extensions).app
    async with running_web(app, app.load({})) as web:
        yield web


async def test_the_page_shows_what_an_outbox_has_recorded(shop: Shop, served: Web) -> None:
    """Each transaction of the application that has recorded something is a trace."""
    viewer = Viewer(served)
    await shop.order(1)
    await viewer.until_there_are(1)
    await shop.order(2)
    await viewer.until_there_are(2)

    def settled(_: Any) -> bool:
        nodes = [node for trace in viewer.traces.values() for node in trace["nodes"]]
        return [n["state"] for n in nodes if n["kind"] == "delivery"] == ["done"] * 4

    await viewer.until(settled)
    for trace in viewer.traces.values():
        assert [node["name"] for node in trace["nodes"]] == ["order_placed", "confirm", "reserve"]
        assert trace["nodes"][0]["parent"] is None


async def test_history_lists_what_an_outbox_has_recorded(
    shop: Shop, elsewhere: Application
) -> None:
    """Newest first, with what became of it; a message that was noted lists its event, too."""
    async with shop.session() as session, session.begin():
        assert await shop.outbox.once(session, "shop.example", "r1")
        await shop.place(session, 1)
    await shop.order(2)
    await until(shop.is_done)

    newest, noted = await latest_commands(elsewhere.database, limit=5)

    assert (newest.type, newest.source, newest.about) == ("order_placed", "", "2")
    assert (newest.done, newest.pending, newest.parked) == (2, 0, 0)
    assert newest.seconds is not None
    assert (noted.type, noted.source, noted.about, noted.done) == (
        "message",
        "shop.example",
        "1",
        2,
    )
    assert await latest_commands(elsewhere.database, limit=1) == [newest]
    assert await latest_commands(elsewhere.database, limit=5, failed_only=True) == []


async def test_history_lists_what_has_failed_in_an_outbox(
    shop: Shop, elsewhere: Application
) -> None:
    """However deep below the first event; only what an operator has to look at."""
    await shop.order(1)
    await shop.order(2)
    await until(shop.is_done)
    delivery, event = tables.deliveries.c, tables.events.c
    of_first = sa.select(event.id).where(event.subject == "1")
    failed = {"completed_at": None, "parked_at": 1, "last_error": "no"}
    async with shop.session() as session, session.begin():
        parked = sa.update(tables.deliveries).where(delivery.event_id.in_(of_first))
        await session.execute(parked.where(delivery.handler == "confirm").values(failed))

    [row] = await latest_commands(elsewhere.database, limit=5, failed_only=True)

    assert (row.about, row.done, row.parked) == ("1", 1, 1)


async def test_old_events_cost_neither_the_page_nor_the_history_anything(
    shop: Shop, elsewhere: Application
) -> None:
    """SQLite tells how it looks: through the index of their times, never through all events."""
    await shop.order(1)

    with asked_of(elsewhere.database) as statements:
        await latest_commands(elsewhere.database, limit=5)
        async with elsewhere.database.read_transaction() as transaction:
            await queries.recent(transaction, 0.0, 10)

    for asked in (each for each in statements if "aftercommit_events" in each.sql):
        async with elsewhere.database.read_transaction() as transaction:
            plan = await transaction.run_sync(partial(plan_of, asked=asked))
        assert not [step for step in plan if scans_all(step)], (asked.sql, plan)


def scans_all(step: str) -> bool:
    """Tell whether a step of a plan reads all events."""
    return (
        step.startswith("SCAN aftercommit_events") and "aftercommit_events_recorded_at" not in step
    )


def plan_of(connection: sa.Connection, asked: Call) -> list[str]:
    """Return how SQLite would look for what was asked."""
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked.sql}", asked.values)
    return [row[-1] for row in rows]
