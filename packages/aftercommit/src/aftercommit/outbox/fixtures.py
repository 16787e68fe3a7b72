"""Fixtures for the tests of an application that has an outbox: a plugin of pytest.

    pytest_plugins = ["aftercommit.outbox.fixtures"]

That conftest.py defines two fixtures of its own: `outbox_under_test`, which returns the outbox, and
`outbox_engine`, which returns the engine of the tests. See docs/testing-with-an-outbox.md. Nothing
is imported before a fixture is used.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session

    from aftercommit.outbox.outbox import Outbox

SAVEPOINTS: Any = {"join_transaction_mode": "create_savepoint"}  # so that sessions can be committed


@pytest.fixture
def outbox_under_test() -> Outbox:
    """The outbox of the application. Override this fixture in a conftest.py."""
    pytest.fail("write a fixture outbox_under_test into conftest.py, which returns the outbox")


@pytest.fixture
def outbox_engine() -> Engine | AsyncEngine:
    """The engine of the tests. Override this fixture in a conftest.py."""
    pytest.fail("write a fixture outbox_engine into conftest.py, which returns the engine")


@pytest.fixture
def outbox_without_worker(outbox_under_test: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `running()` and `running_sync()`, in the lifespan of the application, start nothing.

    A worker has its own connections, so it could not see the data that a test rolls back.
    """
    for name in ("running", "running_sync"):
        monkeypatch.setattr(outbox_under_test, name, nullcontext)


@pytest.fixture
def outbox_connection(outbox_engine: Engine) -> Iterator[Connection]:
    """A connection that is rolled back after the test, with the tables of the outbox."""
    with rolled_back(outbox_engine) as connection:
        yield connection


@pytest.fixture
def outbox_session(outbox_connection: Connection) -> Iterator[Session]:
    """A session on this connection. It may be committed, which only releases a savepoint."""
    from sqlalchemy.orm import Session

    with Session(outbox_connection, **SAVEPOINTS) as session:
        yield session


@pytest.fixture
async def outbox_async_connection(outbox_engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The same for an `AsyncEngine`. Async fixtures need a plugin such as AnyIO's."""
    async with rolled_back_async(outbox_engine) as connection:
        yield connection


@pytest.fixture
async def outbox_async_session(
    outbox_async_connection: AsyncConnection,
) -> AsyncIterator[AsyncSession]:
    """A session on this connection. It may be committed; objects stay loaded then."""
    from sqlalchemy.ext.asyncio import AsyncSession

    options = {"expire_on_commit": False, **SAVEPOINTS}
    async with AsyncSession(outbox_async_connection, **options) as session:
        yield session


@contextmanager
def rolled_back(engine: Engine) -> Iterator[Connection]:
    """Open a connection, with the outbox's tables; at the end, roll everything back."""
    with engine.connect() as connection, connection.begin() as transaction:
        _begin(connection)
        yield connection
        transaction.rollback()


@asynccontextmanager
async def rolled_back_async(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Do the same with an `AsyncEngine`."""
    async with engine.connect() as connection, connection.begin() as transaction:
        await connection.run_sync(_begin)
        yield connection
        await transaction.rollback()


def _begin(connection: Connection) -> None:
    """Begin a transaction in the database, and create the tables if they are missing."""
    from aftercommit.alembic import upgrade_tables
    from aftercommit.database.connection_guard import in_transaction

    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("SELECT 1")  # this sends a deferred BEGIN
        if not in_transaction(connection.connection.driver_connection):
            connection.exec_driver_sql("BEGIN")  # otherwise, releasing a savepoint would commit
    upgrade_tables(connection)
