"""Fixtures: each test has a session that is rolled back, and no worker beside it."""

from collections.abc import AsyncIterator

import main
import pytest
from aftercommit import Outbox
from events import outbox
from httpx import ASGITransport, AsyncClient, Response
from models import Article, Base
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

pytest_plugins = ["aftercommit.outbox.fixtures"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def outbox_under_test() -> Outbox:
    return outbox


@pytest.fixture
async def outbox_engine() -> AsyncIterator[AsyncEngine]:
    async with main.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield main.engine
    await main.engine.dispose()


@pytest.fixture
async def session(outbox_async_session: AsyncSession) -> AsyncSession:
    outbox_async_session.add(Article(name="lamp", in_stock=10))
    await outbox_async_session.commit()
    return outbox_async_session


@pytest.fixture
async def client(session: AsyncSession) -> AsyncIterator[AsyncClient]:
    """A client that runs what follows after each request."""

    async def deliver(response: Response) -> None:
        await outbox.deliver(session)

    main.app.dependency_overrides[main.get_session] = lambda: session
    options = {"transport": ASGITransport(main.app), "base_url": "http://shop"}
    async with AsyncClient(**options, event_hooks={"response": [deliver]}) as client:
        yield client
    main.app.dependency_overrides.clear()
