"""A server that restarts, is not there, or falls silent: what is under way is lost, and told."""

import re
from collections.abc import Awaitable, Callable

import anyio
import pytest
from aftercommit import CommitOutcomeUnknown, ConnectionLost, Transaction
from aftercommit.errors import TransientError
from anyio.lowlevel import checkpoint
from sqlalchemy import make_url, text
from sqlalchemy.exc import ResourceClosedError

from aftercommit_tests.extensions.postgresql.server import ENOUGH_SECONDS, end_connections, value
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.postgresql import drop
from aftercommit_tests.inside.stored import backend_for
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import APP
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "asyncio-psycopg", "trio-anyio")]

SHORT = 1.0  # seconds that a handler may take: a call of the driver may take two
IN_WORDS = (
    "terminating connection|connection (is|was) closed|server closed the connection"
    "|the server has ended the session"
)


async def ask(transaction: Transaction) -> None:
    await transaction.execute(text("SELECT 1"))


async def commit(transaction: Transaction) -> None:
    await transaction.commit()


async def fail(transaction: Transaction) -> None:
    raise ZeroDivisionError


LOST: dict[str, tuple[Callable[[Transaction], Awaitable[None]], type[Exception], str]] = {
    "a statement": (ask, ConnectionLost, f"no answer within 2 s|{IN_WORDS}"),
    # whether it was stored cannot be known; to claim either would be a lie
    "a commit": (commit, CommitOutcomeUnknown, "not known whether anything was stored"),
    # the server rolls back by itself; what went wrong before is what matters
    "a rollback": (fail, ZeroDivisionError, "^$"),
}


@pytest.mark.parametrize("loss", ["ended", "silent"])
@pytest.mark.parametrize(("use", "error", "told"), LOST.values(), ids=LOST)
async def test_what_is_under_way_on_a_lost_connection_is_told_and_the_next_one_works(
    proxied: tuple[str, Proxy],
    postgres_url: str,
    loss: str,
    use: Callable[[Transaction], Awaitable[None]],
    error: type[Exception],
    told: str,
) -> None:
    """Also if the server is silent: without a limit, that hung for a quarter of an hour."""
    url, proxy = proxied
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            with pytest.raises(error, match=told):
                async with database.write_transaction() as transaction:
                    await ask(transaction)
                    proxy.freeze() if loss == "silent" else end_connections(postgres_url)
                    await use(transaction)

            proxy.open()
            assert await value(database) == 1


@pytest.mark.parametrize("looks", range(4))
async def test_a_session_that_the_server_ends_between_two_statements_is_told_in_words(
    url: str, postgres_url: str, looks: int
) -> None:
    """The driver may hear of the end, or of the closed connection, before it is asked again.

    It speaks of its own state then, and an operator who reads that learns nothing.
    """
    async with open_database(url) as database:
        with pytest.raises(ConnectionLost) as raised:
            async with database.write_transaction() as transaction:
                await ask(transaction)
                end_connections(postgres_url)
                for _ in range(looks):
                    await checkpoint()
                await ask(transaction)

    assert re.search(IN_WORDS, str(raised.value))


async def test_whoever_waits_for_an_answer_hears_at_once_that_another_task_has_hung_up(
    url: str,
) -> None:
    """Also if the next connection gets the number that the socket had: it is no event of that."""
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(1000)'"
    opening = open_database(url, handler_timeout=1000)  # no limit of the call ends it
    async with opening as database, anyio.create_task_group() as others:
        connection = await database.engine.connect()
        ended = anyio.Event()

        async def wait() -> None:
            with pytest.raises((TransientError, ResourceClosedError)):
                await database.backend.call(connection.execute, text("SELECT pg_sleep(1000)"))
            ended.set()

        others.start_soon(wait)
        with anyio.fail_after(ENOUGH_SECONDS):
            while not await value(database, asleep):
                await checkpoint()
        with anyio.fail_after(ENOUGH_SECONDS):
            await drop(connection)
            async with database.engine.connect(), database.engine.connect():
                await ended.wait()


async def test_what_the_driver_calls_a_time_out_leaves_the_outcome_of_a_commit_unknown() -> None:
    """A commit asks whether the connection was lost: what has no answer may have been stored."""
    backend = backend_for("postgresql://localhost/things", APP.parts.database_backends(), 1.0)

    assert isinstance(backend.translate(TimeoutError()), ConnectionLost)


@pytest.mark.parametrize("is_there", [False, True])
async def test_a_server_that_does_not_answer_is_a_resource_error(
    proxied: tuple[str, Proxy], is_there: bool
) -> None:
    """It may answer again in a moment. Also a time-out, which has no message, is told in words."""
    url, proxy = proxied
    secret = make_url(url).set(password="hunter2").render_as_string(hide_password=False)
    proxy.freeze() if is_there else proxy.cut()
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(secret, handler_timeout=SHORT) as database:
            with pytest.raises(DatabaseUnavailable, match=r"not available: \S+") as refusal:
                await value(database)

    assert "hunter2" not in str(refusal.value)


async def test_connections_that_died_in_the_pool_cost_one_wait(proxied: tuple[str, Proxy]) -> None:
    """They are tried before they are used; when one is dead, all that lay beside it are."""
    url, proxy = proxied
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            async with database.read_transaction() as one, database.read_transaction() as other:
                await ask(one)
                await ask(other)
            proxy.freeze()
            proxy.open()

            assert await value(database) == await value(database) == 1


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
            await ask(transaction)
            proxy.freeze()
            limit.deadline = anyio.current_time() + 0.1
            await ask(transaction)

    assert limit.cancelled_caught
    assert anyio.current_time() - limit.deadline < ENOUGH_SECONDS
