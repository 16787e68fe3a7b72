"""A failover to a real standby: processes go where writes are taken, though both may answer."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from aftercommit import Database, new_delivery_store, testing
from anyio.pytest_plugin import FreePortFactory
from sqlalchemy import text

from aftercommit_tests.builders import POLICY, on
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.environments import made_once
from aftercommit_tests.extensions.postgresql.server import (
    EACH_DRIVER,
    ENOUGH_SECONDS,
    change,
    value,
)
from aftercommit_tests.extensions.postgresql.standby import Server, primary_and_standby
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.postgresql import timeouts
from aftercommit_tests.processes import wait_until
from aftercommit_tests.things.app import APP
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = [pytest.mark.anyio, EACH_DRIVER, pytest.mark.check]

INSERT = (
    "INSERT INTO things (id, name, version)"
    " VALUES (gen_random_uuid(), CAST(gen_random_uuid() AS text), 1)"
)
READ_ONLY = "default_transaction_read_only"


@pytest.fixture(scope="session")
def stopped(shared_folder: Path, free_tcp_port_factory: FreePortFactory) -> Path:
    """The data of a server with the current schema, which all processes of this run make once."""

    def make(folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)  # it has a user of its own
        server = Server(folder / "data", free_tcp_port_factory())
        server.make()
        server.start()
        testing.migrate(APP, server.url)
        server.stop("fast")

    return made_once(shared_folder / "stopped", make) / "data"


@pytest.fixture
def servers(
    stopped: Path, free_tcp_port_factory: FreePortFactory
) -> Iterator[tuple[Server, Server]]:
    """A primary with the current schema, and a standby that has it, too."""
    ports = free_tcp_port_factory(), free_tcp_port_factory()
    with primary_and_standby(stopped, ports) as servers:
        primary, standby = servers
        wait_until(lambda: _is_equal(primary, standby))
        yield servers


@pytest.fixture
def url(servers: tuple[Server, Server], place: tuple[str, str]) -> str:
    """The URL of both, the primary first."""
    ports = ",".join(str(each.port) for each in servers)
    where = f"host=127.0.0.1,127.0.0.1&port={ports}"
    both = f"postgresql://postgres@/postgres?{where}&target_session_attrs=read-write"
    return on(place[1], both)


def _is_equal(primary: Server, standby: Server) -> bool:
    return primary.value("SELECT pg_current_wal_lsn()") == standby.value(
        "SELECT pg_last_wal_replay_lsn()"
    )


async def until_it_writes(database: Database, *, attempts: int) -> None:
    """Write as soon as the database takes that."""
    for _ in range(attempts):
        try:
            return await change(database, INSERT)
        except DatabaseUnavailable:
            await anyio.lowlevel.checkpoint()
    pytest.fail("it takes no writes")


async def test_after_a_failover_the_next_transactions_are_those_of_the_new_primary(
    servers: tuple[Server, Server], url: str
) -> None:
    """Each connection that was idle belongs to the server that is gone."""
    primary, standby = servers
    async with open_database(url) as database:
        async with database.read_transaction() as other:
            await other.execute(text("SELECT 1"))
            await change(database, INSERT)
        await anyio.to_thread.run_sync(wait_until, lambda: _is_equal(primary, standby))
        await anyio.to_thread.run_sync(primary.stop)
        await anyio.to_thread.run_sync(standby.promote)

        with anyio.fail_after(ENOUGH_SECONDS):
            await until_it_writes(database, attempts=2)
        assert await value(database, "SELECT count(*) FROM things") == 2


@pytest.mark.parametrize("writer", ["a transaction", "a claim"])
async def test_a_server_that_takes_no_writes_any_more_is_left_at_once(
    servers: tuple[Server, Server], url: str, writer: str
) -> None:
    """It answers, so nothing else would make a process look for another one."""
    primary, standby = servers
    async with open_database(url) as database:
        store = new_delivery_store(database, POLICY)
        async with database.read_transaction() as other:
            await other.execute(text("SELECT 1"))
            await change(database, INSERT)
        await store.claim(1, ["announce"])
        await anyio.to_thread.run_sync(wait_until, lambda: _is_equal(primary, standby))
        await anyio.to_thread.run_sync(primary.set, READ_ONLY, "on")
        await anyio.to_thread.run_sync(standby.promote)

        with pytest.raises(DatabaseUnavailable, match="is a standby, or default_transaction_read"):
            await (
                store.claim(1, ["announce"]) if writer == "a claim" else change(database, INSERT)
            )

        assert await store.claim(1, ["announce"]) == []
        await change(database, INSERT)
        assert await value(database, "SELECT count(*) FROM things") == 2


async def test_who_only_listens_leaves_it_too(
    servers: tuple[Server, Server], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle worker writes nothing, and nobody sends a notification to a standby."""
    monkeypatch.setattr(timeouts, "RESPONSE_SECONDS", 0.5)
    primary, standby = servers
    async with open_database(url, handler_timeout=1.0) as database, database.listen(lambda: None):
        await change(database, INSERT)
        await anyio.to_thread.run_sync(wait_until, lambda: _is_equal(primary, standby))
        await anyio.to_thread.run_sync(primary.set, READ_ONLY, "on")
        await anyio.to_thread.run_sync(standby.promote)

        listens = "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'"
        await anyio.to_thread.run_sync(wait_until, lambda: standby.value(listens) == 1)


def test_check_tries_a_write(
    servers: tuple[Server, Server], command_line: CommandLine, place: tuple[str, str]
) -> None:
    """A standby answers, and its schema is up to date."""
    primary, _ = servers
    checked = {"database_url": on(place[1], primary.url)}
    assert "writes       are accepted" in command_line.shows("check", **checked)
    primary.set(READ_ONLY, "on")

    refused = command_line.run("check", **checked)

    assert refused.returncode == 3
    assert "is a standby, or default_transaction_read_only is on" in refused.stderr
