"""What cannot be delivered is refused where it is recorded, while it can be mended."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import inf, nan
from typing import Any
from uuid import UUID

import pytest
from aftercommit import Handlers, InvalidValue, Later, Outbox, Unavailable, on
from aftercommit.errors import InvalidPayload, WiringError
from aftercommit.sql.exceptions import SchemaOfAnother
from sqlalchemy.ext.asyncio import AsyncSession

from aftercommit_tests.outbox.orders import OrderPlaced, Shop, open_shop, reserve

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(tmp_path: object, anyio_backend: str) -> AsyncIterator[Shop]:
    """The application on a SQLite file, without our tables until its outbox runs."""
    async with open_shop(f"sqlite:///{tmp_path}/shop.db", anyio_backend) as shop:
        yield shop


@dataclass(frozen=True)
class Unknown:
    """An event that no row of the table has."""


UNDELIVERABLE: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "an id that the database has not made": (OrderPlaced(None), 1, InvalidPayload, "order_id"),  # type: ignore[arg-type]
    "nothing": (OrderPlaced(1), None, InvalidValue, "flush"),
    "no row": (Unknown(), 1, WiringError, r"on\(Unknown, …\)"),
    "a list": ([OrderPlaced(1)], 1, WiringError, "takes events one by one"),
    "a class": (OrderPlaced, 1, WiringError, "takes events one by one"),
}


@pytest.mark.parametrize(
    ("event", "about", "kind", "problem"), UNDELIVERABLE.values(), ids=UNDELIVERABLE
)
async def test_what_cannot_be_delivered_is_refused_at_once(
    shop: Shop, event: Any, about: Any, kind: type[Exception], problem: str
) -> None:
    """Later, it would be parked for good."""
    async with shop.outbox.running(), shop.session() as session:
        with pytest.raises(kind, match=problem):
            await shop.outbox.record(session, event, about=about)


async def test_tables_that_are_missing_are_a_sentence(shop: Shop) -> None:
    """And not an error of the database, which says nothing of what to do. So is a wrong session."""
    async with shop.session() as session:
        with pytest.raises(Unavailable, match='so does "aftercommit db upgrade MODULE:NAME"'):
            await shop.place(session, 1)
        with pytest.raises(Unavailable, match="it has not the tables of the outbox"):
            await shop.outbox.once(session, "shop.example", "request-1")
        with pytest.raises(WiringError, match="record needs an AsyncSession.*record_sync"):
            await shop.outbox.record(session.sync_session, OrderPlaced(1), about=1)  # type: ignore[arg-type]
        with pytest.raises(WiringError, match="record_sync needs a Session"):
            shop.outbox.record_sync(session, OrderPlaced(1), about=1)  # type: ignore[arg-type]
        with pytest.raises(WiringError, match="once needs an AsyncSession.*once_sync"):
            await shop.outbox.once(session.sync_session, "shop.example", "1")  # type: ignore[arg-type]


@pytest.mark.parametrize(("source", "message_id"), [("s", None), ("s", ""), ("", "1")])
async def test_a_message_without_an_id_is_no_message(
    shop: Shop, source: str, message_id: Any
) -> None:
    """A header that is missing: each one would be new, or each one but the first old."""
    async with shop.session() as session:
        with pytest.raises(InvalidValue, match="nothing tells this message from others"):
            await shop.outbox.once(session, source, message_id)


async def test_once_takes_ids_and_sessions_as_they_come(shop: Shop) -> None:
    """An id may be a UUID, or its text; a session may be synchronous."""
    async with shop.outbox.running(), shop.session() as session:
        assert await shop.outbox.once(session, "shop.example", UUID(int=1))
        again = partial(shop.outbox.once_sync, source="shop.example", message_id=str(UUID(int=1)))
        assert not await session.run_sync(again)


@pytest.mark.parametrize("delay", [None, nan, inf, -1, "5", timedelta(days=1)])
def test_a_delay_has_to_be_a_time(delay: Any) -> None:
    """Also where no type checker looks: what is due at no time would wait for ever."""
    with pytest.raises(WiringError, match="no timedelta"):
        Later(reserve, after=5)  # type: ignore[arg-type]
    table = Handlers(commands=[], events=[on(OrderPlaced, Later(reserve, after=lambda _: delay))])
    with pytest.raises(WiringError, match="no number of seconds from 0 on: .*(None|nan|inf|1|5)"):
        table.subscriptions(None)
    Later(reserve, after=timedelta(days=1))


async def test_sessions_of_another_database_are_refused(
    tmp_path: object, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker would look in its own, and nothing would ever be delivered."""
    url, other = (f"sqlite:///{tmp_path}/{name}.db" for name in ("shop", "other"))
    monkeypatch.setenv("SHOP_DATABASE_URL", other)
    async with open_shop(url, anyio_backend) as shop, shop.session() as session:
        with pytest.raises(WiringError, match=r"two databases: .*other\.db, .*shop\.db"):
            await shop.place(session, 1)


async def test_sessions_that_the_worker_cannot_follow_are_refused(shop: Shop) -> None:
    """The schema is that of another name, or nothing is rolled back."""
    async with shop.outbox.running():
        async with shop.session() as session:
            other = Outbox("other", shop.outbox.app.default_database_url, [on(OrderPlaced)])
            with pytest.raises(SchemaOfAnother, match="belongs to the application shop"):
                await other.record(session, OrderPlaced(1), about=1)
        careless = shop.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with AsyncSession(careless) as session:
            with pytest.raises(WiringError, match="transactions.*: AUTOCOMMIT"):
                await shop.place(session, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_engine_that_is_not_prepared_is_named_once(
    tmp_path: object, anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its requests overwrite each other, and no error says so."""
    url = f"sqlite:///{tmp_path}/shop.db"
    async with open_shop(url, anyio_backend, prepared=False) as shop, shop.outbox.running():
        for number in (1, 2):
            await shop.order(number)

    assert [each.message for each in caplog.records if "prepare" in each.message] == [
        "requests can overwrite what others have written since they have read it; "
        "once for the engine, call aftercommit.sqlite.prepare"
    ]
