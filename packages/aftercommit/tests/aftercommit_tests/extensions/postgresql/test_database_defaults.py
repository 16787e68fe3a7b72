"""What an operator has set for a database, where a promise of the engine depends on it."""

import logging
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from aftercommit import ensure_schema
from sqlalchemy import make_url, text

from aftercommit_tests.builders import PLAIN, a_thing
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.extensions.postgresql.server import change, change_from_outside, value
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.test_order_contract import NOTE, RING
from aftercommit_tests.things.app import open_things_database as open_database
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.world import World, open_world

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "trio-anyio")]

LEVELS = ["repeatable read", "serializable"]
KEPT = {
    "synchronous_commit = off": ("synchronous_commit", "local"),
    "synchronous_commit = remote_apply": ("synchronous_commit", "remote_apply"),
    "idle_session_timeout = '2s'": ("idle_session_timeout", "0"),
    "client_encoding = 'LATIN1'": ("client_encoding", "UTF8"),
    "extra_float_digits = -15": ("extra_float_digits", "1"),
}


def set_for_all(url: str, setting: str) -> None:
    """Set something for all sessions of a database that begin from now on."""
    change_from_outside(url, f"ALTER DATABASE {make_url(url).database} SET {setting}")


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, postgres_url: str) -> str:
    """An isolation level that is the default of the database, and not that of PostgreSQL."""
    set_for_all(postgres_url, f"default_transaction_isolation = '{request.param}'")
    return str(request.param)


@pytest.fixture
async def things_by_letter(url: str, level: str) -> AsyncIterator[World]:
    """A world with ordered handlers, in which all things whose names begin alike have one lane."""
    async with open_world(url) as world:
        world.event_handlers = {**PLAIN, ThingMade: [NOTE, RING]}
        world.keys = {ThingMade: lambda event: event.name[0]}
        world.wire()
        yield world


async def test_lanes_keep_their_order_whatever_isolation_a_database_has(
    things_by_letter: World,
) -> None:
    """In a snapshot that is older than its lock, a commit would take itself for the first one."""
    world = things_by_letter
    async with (second := world.a_uow()) as late:
        await late.things.find(a_thing("a0").id)  # from now on it would see nothing new
        async with (first := world.a_uow()) as early:
            early.things.add(a_thing("a1"))
        late.things.add(a_thing("a2"))

    assert {claim.handler for claim in first.committed.claims} == {"note", "ring"}
    assert second.committed.claims == ()


async def test_all_that_a_connection_does_is_at_the_level_of_the_engine(
    url: str, level: str
) -> None:
    """Statements without BEGIN, transactions that read, and a connection that was in autocommit."""
    async with open_database(url, connections=1) as database:
        for _ in range(database.engine.pool.size()):  # type: ignore[attr-defined]
            statements = database.engine.execution_options(isolation_level="AUTOCOMMIT")
            async with statements.connect() as connection:
                shown = await connection.execute(text("SHOW transaction_isolation"))
                assert shown.scalar_one() == "read committed"
            assert await value(database, "SHOW transaction_isolation") == "read committed"


async def test_a_start_says_that_handlers_lose_the_isolation_that_a_database_promises(
    url: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One that reads and then decides may have relied on it."""
    async with open_database(url) as database:
        await ensure_schema(database)

    [told] = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert told.startswith(f"the default isolation of the database, {level}, is not used")


def test_check_says_that_handlers_lose_an_isolation(
    postgres_url: str, level: str, command_line: CommandLine
) -> None:
    """Its other commands are asked for something else."""
    shown = command_line.shows("check", database_url=postgres_url)

    assert f"isolation    the default isolation of the database, {level}, is not used" in shown


@pytest.fixture
def url_of_a_user(postgres_url: str, command_line: CommandLine) -> Iterator[str]:
    """The URL of a user who may do what handlers do, and owns nothing."""
    command_line.shows("db", "upgrade", database_url=postgres_url)
    user = f"user_{uuid4().hex}"
    for statement in (
        f"CREATE ROLE {user} LOGIN PASSWORD '{user}'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}",
    ):
        change_from_outside(postgres_url, statement)
    of_user = make_url(postgres_url).set(username=user, password=user)
    yield of_user.render_as_string(hide_password=False)
    change_from_outside(postgres_url, f"DROP OWNED BY {user}")
    change_from_outside(postgres_url, f"DROP ROLE {user}")


MOVE_IT = "new events would get a `sequence` that others have seen before"


async def test_a_start_says_that_the_sequence_cannot_be_moved_after_a_restore(
    url_of_a_user: str, place: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Handlers go on; but nobody would see that receivers pass over events until it is too late."""
    url = make_url(url_of_a_user).set(drivername=f"postgresql+{place[1]}")
    async with open_database(url.render_as_string(hide_password=False)) as database:
        await ensure_schema(database)

    [told] = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert MOVE_IT in told
    assert "GRANT UPDATE ON SEQUENCE aftercommit_events_position TO user_" in told


def test_check_says_that_the_sequence_cannot_be_moved(
    url_of_a_user: str, command_line: CommandLine
) -> None:
    """As an operator finds out before a restore."""
    shown = command_line.shows("check", database_url=url_of_a_user)

    assert f"sequence     after the restore of a backup, {MOVE_IT}" in shown


async def test_a_start_says_nothing_about_what_is_kept(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning that is always there is read by nobody."""
    async with open_database(url) as database:
        await ensure_schema(database)

    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(("default", "kept"), KEPT.items(), ids=KEPT)
async def test_a_default_of_a_database_breaks_no_promise(
    url: str, postgres_url: str, default: str, kept: tuple[str, str]
) -> None:
    """What is committed is on the disk of this server, at least; and connections last."""
    set_for_all(postgres_url, default)
    name, expected = kept

    async with open_database(url) as database:
        assert await value(database, f"SHOW {name}") == expected


async def test_a_limit_of_whole_transactions_is_off_where_a_server_has_it(
    url: str, postgres_url: str
) -> None:
    """PostgreSQL 17 has it first; an upgrade of the schema would be ended by it."""
    limit = "SELECT current_setting('transaction_timeout', true)"
    async with open_database(url) as database:
        known = await value(database, limit) is not None
    if known:
        set_for_all(postgres_url, "transaction_timeout = '1min'")

    async with open_database(url) as database:
        assert await value(database, limit) == ("0" if known else None)


async def test_names_of_any_script_are_stored_though_others_have_another_encoding(
    url: str, postgres_url: str
) -> None:
    """A database may say an encoding for its old programs; a driver would believe it."""
    set_for_all(postgres_url, "client_encoding = 'LATIN1'")
    async with open_world(url) as world:
        await world.make_thing("Иван")

        assert await world.things() == ["Иван"]


async def test_a_database_that_takes_no_writes_for_now_is_unavailable_and_says_why(
    url: str, postgres_url: str
) -> None:
    """An operator has frozen it, or it is a standby: that is not to be overruled, nor counted."""
    set_for_all(postgres_url, "default_transaction_read_only = on")

    async with open_database(url) as database:
        with pytest.raises(DatabaseUnavailable, match=r"read-only .*default_transaction_read_only"):
            await change(database, "DELETE FROM aftercommit_events")
