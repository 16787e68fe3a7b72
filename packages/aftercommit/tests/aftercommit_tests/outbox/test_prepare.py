"""An engine of somebody else on a SQLite file that a worker writes to as well."""

import pytest
from aftercommit.sqlite import prepare
from sqlalchemy import Connection, event, exc, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from aftercommit_tests.outbox.orders import Order, Shop, open_shop, until

pytestmark = pytest.mark.anyio

REQUESTS = 60  # without the preparation, 53 of them fail


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """It is about drivers of SQLite, not about event loops."""
    return str(request.param)


def begin_as_sqlalchemy_says(engine: AsyncEngine) -> None:
    """Listen as its documentation of SQLite says."""

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: object, record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


async def failed(shop: Shop) -> int:
    """Return how many of many requests fail that read first, and write then."""
    count = 0
    async with shop.outbox.running():
        for number in range(REQUESTS):
            try:
                async with shop.session() as session, session.begin():
                    await session.scalar(select(func.count()).select_from(Order))
                    await shop.place(session, number)
            except exc.OperationalError:
                count += 1
        await until(shop.is_done)
    return count


@pytest.mark.parametrize("has_recipe", [True, False])
async def test_requests_wait_for_the_worker(tmp_path: object, has_recipe: bool) -> None:
    """Whether transactions begin as SQLAlchemy's documentation says, or as its default is."""
    async with open_shop(f"sqlite:///{tmp_path}/shop.db", "asyncio", prepared=False) as shop:
        if has_recipe:
            begin_as_sqlalchemy_says(shop.engine)
        prepare(shop.engine)
        await shop.engine.dispose()  # the connection of before it

        assert await failed(shop) == 0
        assert await shop.reserved() == [1] * REQUESTS


async def test_a_reader_waits_for_nobody(tmp_path: object) -> None:
    """By an option of the engine."""
    async with open_shop(f"sqlite:///{tmp_path}/shop.db", "asyncio") as shop:
        reading = shop.engine.execution_options(sqlite_begin="BEGIN")
        async with shop.engine.begin() as writer, reading.connect() as reader:
            await writer.execute(Order.__table__.insert().values(id=1, reserved=0))  # type: ignore[attr-defined]

            assert (await reader.execute(select(Order.id))).all() == []
