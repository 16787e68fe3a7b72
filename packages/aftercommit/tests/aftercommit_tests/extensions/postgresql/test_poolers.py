"""A pooler between a process and its server: one that keeps sessions is fine, others are not."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import anyio
import pytest
from sqlalchemy import text

from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.extensions.postgresql.pgbouncer import pgbouncer
from aftercommit_tests.extensions.postgresql.server import EACH_DRIVER, ENOUGH_SECONDS, value
from aftercommit_tests.inside.errors import DatabaseUnavailable, SharedSessions
from aftercommit_tests.inside.postgresql import poolers
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = [pytest.mark.anyio, EACH_DRIVER, pytest.mark.check]

SHARING, KEEPING = {"mode": "transaction"}, {"mode": "session"}


@pytest.fixture
def pooled(url: str, free_tcp_port: int, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the database through a pooler, which shares sessions or keeps them."""
    with pgbouncer(url, port=free_tcp_port, **request.param) as pooled:
        yield pooled


def through(**pooler: Any) -> pytest.MarkDecorator:
    """Let a test be run through such a pooler."""
    return pytest.mark.parametrize("pooled", [pooler], indirect=True, ids=[""])


async def check_sessions(url: str) -> None:
    async with open_database(url) as database:
        await database.check_sessions()


@pytest.mark.parametrize(
    "pooled",
    [{"size": size, "prepared": prepared, **SHARING} for size in (1, 20) for prepared in (0, 200)],
    indirect=True,
    ids=str,
)
async def test_a_pooler_that_shares_its_sessions_is_refused(pooled: str) -> None:
    """Over it, notifications get lost, and other clients get our time limits."""
    with anyio.fail_after(ENOUGH_SECONDS), pytest.raises(SharedSessions, match="pool_mode=session"):
        await check_sessions(pooled)


@through(size=20, **KEEPING)
async def test_a_server_and_a_pooler_that_keeps_sessions_are_accepted(
    url: str, pooled: str
) -> None:
    """Anyone who has too many processes for one server needs a pooler."""
    await check_sessions(url)
    await check_sessions(pooled)


@through(size=1, **KEEPING)
async def test_what_nobody_can_know_refuses_nothing(
    pooled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one session for all, a second connection waits forever, and the first one is alone."""
    monkeypatch.setattr(poolers, "PROBE_SECONDS", 0.5)
    with anyio.fail_after(ENOUGH_SECONDS):
        await check_sessions(pooled)


@through(size=1, **KEEPING)
async def test_a_connection_that_is_accepted_and_not_answered_is_logged(
    pooled: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The pool of the pooler is too small: without a word, that looks like a slow database."""
    with anyio.fail_after(ENOUGH_SECONDS), caplog.at_level(logging.WARNING):
        async with (
            open_database(pooled, handler_timeout=2.0) as database,
            database.read_transaction() as transaction,
        ):
            await transaction.execute(text("SELECT 1"))
            with pytest.raises(DatabaseUnavailable):
                await value(database)

    assert "is a pooler before the server, and its pool too small?" in caplog.text


@through(size=20, **SHARING)
def test_check_and_a_worker_refuse_it(command_line: CommandLine, pooled: str) -> None:
    """A worker that nobody wakes looks healthy."""
    for command in (["check"], ["worker", "--until-idle"]):
        refused = command_line.run(*command, database_url=pooled)

        assert refused.returncode == 3
        assert "a pooler that shares sessions" in refused.stderr


@through(size=10, **KEEPING)
def test_check_opens_as_many_connections_as_a_process_may_need(
    command_line: CommandLine, pooled: str
) -> None:
    """Before a process stands still because its pooler gives it fewer."""
    check = partial(command_line.run, "check")

    refused = check(database_url=pooled, pool_size="10")
    assert refused.returncode == 3
    assert "of the 16 connections that a process may need; raise" in refused.stderr
    assert check(database_url=pooled, pool_size="2").returncode == 0
