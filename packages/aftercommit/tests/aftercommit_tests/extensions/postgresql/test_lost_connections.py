"""A server that restarts, is not there, or falls silent: what is under way is lost, and told."""

import re

import anyio
import pytest
from aftercommit.sql.database import backend_for
from aftercommit.sql.exceptions import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable
from anyio.lowlevel import checkpoint
from sqlalchemy import text

from aftercommit_tests.extensions.postgresql.server import ENOUGH_SECONDS, end_connections, value
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import EXTENSIONS
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = pytest.mark.anyio

SHORT = 1.0  # seconds that a handler may take: a call of the driver may take two


@pytest.mark.parametrize("looks", range(4))
async def test_a_session_that_the_server_ends_is_lost_and_the_next_one_works(
    url: str, postgres_url: str, looks: int
) -> None:
    """A server that restarts costs what is under way, and nothing after it.

    The driver may hear of the end, or of the closed connection, before it is asked again. It speaks
    of its own state then, and a person who reads that learns nothing.
    """
    async with open_database(url) as database:
        with pytest.raises(ConnectionLost) as raised:
            async with database.write_transaction() as transaction:
                await transaction.execute(text("SELECT 1"))
                end_connections(postgres_url)
                for _ in range(looks):
                    await checkpoint()
                await transaction.execute(text("SELECT 1"))

        assert await value(database) == 1
    told = "terminating connection|connection (is|was) closed|the server has ended the session"
    assert re.search(told, str(raised.value))


async def test_a_connection_lost_while_committing_leaves_the_outcome_unknown(
    url: str, postgres_url: str
) -> None:
    """Whether it was stored cannot be known; to claim either would be a lie."""
    async with open_database(url) as database:
        with pytest.raises(CommitOutcomeUnknown, match="not known whether anything was stored"):
            async with database.write_transaction() as transaction:
                await transaction.execute(text("SELECT 1"))
                end_connections(postgres_url)
                await transaction.commit()


async def test_what_the_driver_calls_a_time_out_leaves_the_outcome_of_a_commit_unknown() -> None:
    """A commit asks whether the connection was lost: what has no answer may have been stored."""
    backend = backend_for("postgresql://localhost/things", EXTENSIONS.database_backends(), 1.0)

    assert isinstance(backend.translate(TimeoutError()), ConnectionLost)


async def test_a_server_that_is_not_there_is_a_resource_error(free_tcp_port: int) -> None:
    """It may be there again in a moment."""
    url = f"postgresql://nobody:hunter2@127.0.0.1:{free_tcp_port}/things"
    async with open_database(url) as database:
        with pytest.raises(DatabaseUnavailable) as refusal:
            await value(database)

    assert "hunter2" not in str(refusal.value)


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
            assert await value(database) == 1
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
            assert await value(database) == 1


async def test_connections_that_died_in_the_pool_cost_one_wait(proxied: tuple[str, Proxy]) -> None:
    """They are tried before they are used; when one is dead, all that lay beside it are."""
    url, proxy = proxied
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            async with database.read_transaction() as one, database.read_transaction() as other:
                await one.execute(text("SELECT 1"))
                await other.execute(text("SELECT 1"))
            proxy.freeze()
            proxy.open()

            assert await value(database) == await value(database) == 1


async def test_a_server_that_accepts_and_says_nothing_is_told_in_words(
    proxied: tuple[str, Proxy],
) -> None:
    """A time-out has no message of its own."""
    url, proxy = proxied
    proxy.freeze()
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=SHORT) as database:
            with pytest.raises(DatabaseUnavailable, match=r"not available: \w+"):
                await value(database)


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
