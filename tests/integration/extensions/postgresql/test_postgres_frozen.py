"""PostgreSQL that does not answer any more, but does not hang up either: nobody waits for ever."""

from collections.abc import Iterator
from typing import cast

import anyio
import psycopg
import pytest
from aftercommit.extensions.postgresql import timeouts
from aftercommit.sql.database import Database
from aftercommit.sql.exceptions import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable
from anyio import to_thread
from sqlalchemy import text

from tests.builders import open_database
from tests.integration.extensions.postgresql.listening import listening
from tests.proxy import Proxy, postgres_behind_a_proxy
from tests.worlds import on

pytestmark = [pytest.mark.anyio]

ENOUGH_SECONDS = 60  # for noisy machines
PLACES = [
    ("asyncio", "asyncpg"),
    ("asyncio", "anyio"),
    ("trio", "anyio"),
]


SHORT = 1.0  # seconds; what a test can wait for


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hang up after two seconds."""
    monkeypatch.setattr(timeouts, "RESPONSE_SECONDS", 2.0 - SHORT)


@pytest.fixture(params=PLACES, ids=["-".join(place) for place in PLACES])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each event loop with each of its drivers."""
    return cast("tuple[str, str]", request.param)


@pytest.fixture
def anyio_backend(place: tuple[str, str]) -> str:
    return place[0]


@pytest.fixture
def proxied(
    postgres_url: str, free_tcp_port: int, place: tuple[str, str]
) -> Iterator[tuple[str, Proxy]]:
    """A database behind a proxy."""
    with postgres_behind_a_proxy(postgres_url, port=free_tcp_port) as (url, proxy):
        yield on(place[1], url), proxy


async def answers(database: Database) -> bool:
    async with database.read_transaction() as transaction:
        return bool((await transaction.execute(text("SELECT 1"))).scalar_one() == 1)


async def test_a_statement_that_is_never_answered_is_a_lost_connection(
    proxied: tuple[str, Proxy], caplog: pytest.LogCaptureFixture
) -> None:
    """Without a limit it hung for a quarter of an hour, and said nothing."""
    url, proxy = proxied
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            with pytest.raises(ConnectionLost, match="no answer within 2 s"):
                async with database.write_transaction() as transaction:
                    await transaction.execute(text("SELECT 1"))
                    proxy.freeze()
                    await transaction.execute(text("SELECT 1"))

            proxy.open()
            assert await answers(database)
    assert "the database did not answer; hanging up" in caplog.text


async def test_a_commit_that_is_never_answered_leaves_the_outcome_unknown(
    proxied: tuple[str, Proxy],
) -> None:
    """The server may have stored it, and the answer may be on its way."""
    url, proxy = proxied
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            with pytest.raises(CommitOutcomeUnknown):
                async with database.write_transaction() as transaction:
                    await transaction.execute(text("SELECT 1"))
                    proxy.freeze()
                    await transaction.commit()


async def test_an_error_of_the_body_is_not_hidden_by_a_rollback_that_is_never_answered(
    proxied: tuple[str, Proxy],
) -> None:
    """The server rolls back by itself; what went wrong before is what matters."""
    url, proxy = proxied
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            with pytest.raises(ZeroDivisionError):
                async with database.write_transaction() as transaction:
                    await transaction.execute(text("SELECT 1"))
                    proxy.freeze()
                    raise ZeroDivisionError

            proxy.open()
            assert await answers(database)


async def test_connections_that_died_in_the_pool_cost_one_wait(
    proxied: tuple[str, Proxy],
) -> None:
    """They are tried before they are used; when one is dead, all that lay beside it are."""
    url, proxy = proxied
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            async with database.read_transaction() as one, database.read_transaction() as other:
                await one.execute(text("SELECT 1"))
                await other.execute(text("SELECT 1"))
            proxy.freeze()
            proxy.open()

            assert await answers(database)
            assert await answers(database)


async def test_a_server_that_accepts_and_says_nothing_is_told_in_words(
    proxied: tuple[str, Proxy],
) -> None:
    """A time-out has no message of its own."""
    url, proxy = proxied
    proxy.freeze()
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            with pytest.raises(DatabaseUnavailable, match=r"not available: \w+"):
                async with database.read_transaction():
                    pass


async def test_whoever_is_cancelled_does_not_wait_for_a_server_that_does_not_answer(
    proxied: tuple[str, Proxy],
) -> None:
    """A process that is told to stop, stops, also with the longest limits."""
    url, proxy = proxied
    with anyio.CancelScope() as limit, anyio.CancelScope():
        async with (
            open_database(url, handler_timeout=1000) as database,
            database.write_transaction() as transaction,
        ):
            await transaction.execute(text("SELECT 1"))
            proxy.freeze()
            limit.deadline = anyio.current_time() + 0.1
            await transaction.execute(text("SELECT 1"))

    assert limit.cancelled_caught
    assert anyio.current_time() - limit.deadline < ENOUGH_SECONDS


@pytest.mark.parametrize("loss", ["cut", "freeze"])
async def test_a_lost_connection_that_listens_is_opened_again(
    proxied: tuple[str, Proxy], postgres_url: str, loss: str
) -> None:
    """Or a worker would poll from then on; and what was said meanwhile is heard as one wake."""
    url, proxy = proxied
    wakes = 0
    woken = anyio.Event()

    def wake() -> None:
        nonlocal wakes
        wakes += 1
        woken.set()

    with anyio.fail_after(ENOUGH_SECONDS):
        async with (
            open_database(url, handler_timeout=SHORT) as database,
            listening(database, wake),
        ):
            getattr(proxy, loss)()
            proxy.open()
            await woken.wait()
            before = wakes
            while wakes == before:
                await to_thread.run_sync(notify, postgres_url)
                await anyio.sleep(0.1)


def notify(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("NOTIFY allocation_deliveries")
