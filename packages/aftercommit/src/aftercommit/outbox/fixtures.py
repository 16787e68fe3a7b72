"""Fixtures for the tests of an application that has an outbox: a plugin of pytest.

    pytest_plugins = ["aftercommit.outbox.fixtures"]

The conftest.py that says so has two of its own: `outbox_under_test`, which returns the outbox, and
`outbox_engine`, the engine of the tests. See docs/testing-with-an-outbox.md. Nothing is imported
before a fixture is used.
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

SAVEPOINTS: Any = {"join_transaction_mode": "create_savepoint"}  # so a session may be committed


@pytest.fixture
def outbox_under_test() -> Outbox:
    """The outbox of the application. A conftest.py has one in the place of this."""
    pytest.fail("write a fixture outbox_under_test into conftest.py, which returns the outbox")


@pytest.fixture
def outbox_engine() -> Engine | AsyncEngine:
    """The engine of the tests. A conftest.py has one in the place of this."""
    pytest.fail("write a fixture outbox_engine into conftest.py, which returns the engine")


@pytest.fixture
def outbox_without_worker(outbox_under_test: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `running()` and `running_sync()` start nothing, as in the lifespan of an application.

    A worker has connections of its own, so it sees nothing of what a test rolls back.
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
    """A session on it, which may be committed: that only releases a savepoint."""
    from sqlalchemy.orm import Session

    with Session(outbox_connection, **SAVEPOINTS) as session:
        yield session


@pytest.fixture
async def outbox_async_connection(outbox_engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The same of an `AsyncEngine`. Async fixtures need AnyIO's plugin, or another one's."""
    async with rolled_back_async(outbox_engine) as connection:
        yield connection


@pytest.fixture
async def outbox_async_session(
    outbox_async_connection: AsyncConnection,
) -> AsyncIterator[AsyncSession]:
    """A session on it, which may be committed; what it has loaded stays readable then."""
    from sqlalchemy.ext.asyncio import AsyncSession

    options = {"expire_on_commit": False, **SAVEPOINTS}
    async with AsyncSession(outbox_async_connection, **options) as session:
        yield session


@contextmanager
def rolled_back(engine: Engine) -> Iterator[Connection]:
    """Open a connection, with the tables of the outbox; at the end, roll all back that it did."""
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
    """Begin a transaction in the database, and make the tables where they are missing."""
    from aftercommit.alembic import upgrade_tables
    from aftercommit.sql.handler_guard import in_transaction

    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("SELECT 1")  # where a BEGIN was deferred, it is sent
        if not in_transaction(connection.connection.driver_connection):
            connection.exec_driver_sql("BEGIN")  # or the release of a savepoint would be a commit
    upgrade_tables(connection)
