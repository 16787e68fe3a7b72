"""What PostgreSQL does not accept, and what its URLs can say."""

import pytest
from aftercommit import InvalidValue
from aftercommit.errors import kind_of
from anyio import to_thread
from sqlalchemy import text

from aftercommit_tests.extensions.postgresql.server import (
    EACH_DRIVER,
    change,
    change_from_outside,
    value,
)
from aftercommit_tests.inside.errors import DatabaseUnavailable, PermissionDenied, StatementRefused
from aftercommit_tests.inside.stored import parse_url
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "trio-anyio")]

ON_POSTGRES: dict[str, tuple[str, dict[str, object]]] = {
    "a text that its encoding does not know": ("SELECT CAST(:value AS VARCHAR)", {"value": "\0"}),
    "a number that is too long for it": (f"SELECT CAST('{'9' * 30}' AS BIGINT)", {}),
    "a value that is too long for an index": (
        "INSERT INTO things SELECT gen_random_uuid(), string_agg(random()::text, ''), 0"
        " FROM generate_series(1, 1000)",
        {},
    ),
}


@pytest.mark.parametrize(("statement", "values"), ON_POSTGRES.values(), ids=ON_POSTGRES)
async def test_what_postgres_does_not_accept_is_a_mistake_of_ours(
    url: str, statement: str, values: dict[str, object]
) -> None:
    """Its limits are not those of SQLite; a message from outside may find them."""
    async with open_database(url) as database:
        with pytest.raises(StatementRefused):
            async with database.write_transaction() as transaction:
                await transaction.execute(text(statement), values)


RAISE = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{}'; END $$"
MEANINGS = {
    # it heals without us, and no attempt is counted
    **dict.fromkeys(("08006", "53300", "57P01", "57P03", "58030", "55P03", "25006"), "unavailable"),
    **dict.fromkeys(("40001", "40P01"), "conflict"),
    # it may go otherwise next time, and counts
    **dict.fromkeys(
        ("P0001", "44000", "55000", "2D000", "0A000", "57014", "25P03", "25P04"), "transient"
    ),
    **dict.fromkeys(("28000", "3D000"), "transient"),  # an outage only while it connects
    **dict.fromkeys(("22003", "42601", "54000"), "defect"),  # it never goes, and is parked
}


@pytest.mark.parametrize(("state", "kind"), MEANINGS.items())
async def test_what_the_server_refuses_counts_as_an_attempt_unless_it_is_an_outage(
    url: str, state: str, kind: str
) -> None:
    """What a trigger refuses would otherwise be tried for ever, and never be parked."""
    async with open_database(url) as database:
        with pytest.raises(Exception, match="no|transaction|changed") as raised:
            async with database.write_transaction() as transaction:
                await transaction.execute(text(RAISE.format(state)))

    assert kind_of(raised.value) == kind


@EACH_DRIVER
@pytest.mark.everywhere
async def test_a_statement_that_was_prepared_before_a_migration_is_a_lost_race(
    postgres_url: str, url: str
) -> None:
    """The next attempt prepares it again, so nothing is wrong, and none is counted."""
    many = range(20)  # psycopg prepares what has come several times
    async with open_database(url) as database:
        await change(database, "CREATE TABLE cups AS SELECT 1 AS a")
        for _ in many:
            await change(database, "SELECT * FROM cups")
        await to_thread.run_sync(
            change_from_outside, postgres_url, "ALTER TABLE cups ADD b INTEGER"
        )
        kinds = list[str]()
        for _ in many:
            try:
                await change(database, "SELECT * FROM cups")
            except Exception as error:
                kinds.append(kind_of(error))

    assert kinds == ["conflict"]


async def test_a_missing_right_is_told_and_not_tried_again(url: str) -> None:
    """Somebody has to grant it; until then it is the same every time."""
    told = "permission denied for table aftercommit_events; GRANT"
    async with open_database(url) as database:
        with pytest.raises(PermissionDenied, match=told):
            async with database.write_transaction() as transaction:
                await transaction.execute(text("SET LOCAL ROLE pg_monitor"))
                await transaction.execute(text("SELECT * FROM aftercommit_events"))


REFUSED_URLS = {
    "postgresql://localhost": "names no database",  # the default of the server is a surprise
    "postgresql://h/d?ssl=require": "option that is not supported; supported are .*sslmode",
    "postgresql+anyio://h/d?command_timeout=3": "has an option that is not supported",
    "postgresql://h/d?service=shop": "has an option that is not supported",
    "postgresql://h/d?connect_timeout=soon": "a wrong connect_timeout; it is a number of seconds",
    "postgresql://h/d?sslmode=on": "a wrong sslmode; it is one of allow, disable, prefer, require",
    "postgresql://h/d?port=": "has something else than option=value after",
    "postgresql://a:1,b:2/d?port=3": "has a host or a port twice",
    "postgresql://a/d?host=b": "has a host or a port twice",
    "postgresql://ivan:hunter2@h/d?password=x": "has password twice",
    "postgresql://ivan:p@ss@h/d": "write @ as %40",
    "postgresql://a,b b/d": "is not of the form",
}


@pytest.mark.parametrize(("url", "problem"), REFUSED_URLS.items())
async def test_what_a_url_cannot_have_is_named(url: str, problem: str) -> None:
    """A word that one driver knows and another does not."""
    with pytest.raises(InvalidValue, match=problem):
        async with open_database(url):
            pass


DIALECTS = {
    "asyncio": {"": "asyncpg", "+asyncpg": "asyncpg", "+psycopg": "psycopg", "+anyio": "anyio"},
    "trio": {"": "anyio", "+psycopg": "anyio", "+anyio": "anyio"},
}


@pytest.mark.parametrize("anyio_backend", DIALECTS)
async def test_a_url_names_a_driver_for_whichever_event_loop(anyio_backend: str) -> None:
    """So psycopg has one name on both, although it runs in threads on Trio."""
    for driver, dialect in DIALECTS[anyio_backend].items():
        async with open_database(f"postgresql{driver}:///things") as database:
            assert database.engine.dialect.driver == dialect


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_the_driver_of_another_event_loop_is_refused() -> None:
    """In one sentence, at start, not with a traceback at the first statement."""
    told = r"names asyncpg, .*not supported on trio, unlike postgresql\+psycopg and"
    with pytest.raises(InvalidValue, match=told):
        async with open_database("postgresql+asyncpg:///things"):
            pass


async def test_options_of_libpq_are_understood(url: str) -> None:
    """They are what people know, and what hosting providers print."""
    more = "sslmode=prefer&application_name=shop&connect_timeout=5&target_session_attrs=any"
    async with open_database(f"{url}{'&' if '?' in url else '?'}{more}") as database:
        assert await value(database, "SHOW application_name") == "things:shop"


@pytest.mark.parametrize(
    "form",
    [
        "postgres://{user}@{host}:{port}/{name}?",
        "postgresql:///{name}?host={host}&port={port}&user={user}&",
        "postgresql:///?dbname={name}&host={host}:{port}&user={user}&",
        "postgresql://{user}@{host}:{port},{host}:1/{name}?",
        "postgresql:///{name}?host={host}:1,{host}:{port}&user={user}&",
        "postgresql:///{name}?host={host}:1&host={host}:{port}&user={user}&",
        "postgresql://{user}@[::1]:1,{host}:{port}/{name}?target_session_attrs=any&",
        "postgresql://{user}@%2Fno%2Fsuch,{host}:{port}/{name}?",
    ],
)
async def test_the_usual_forms_of_libpq_are_understood(
    proxied: tuple[str, Proxy], form: str
) -> None:
    """Hosting providers and the manual of PostgreSQL print them, for whatever driver there is."""
    url = parse_url(proxied[0])
    parts = {"user": url.username, "host": url.host, "port": url.port, "name": url.database}
    text = form.format_map(parts).replace("://", f"+{url.get_driver_name()}://", 1)
    if url.drivername == "postgresql":
        text = form.format_map(parts)
    options = "options=-csearch_path%3Dpg_catalog&channel_binding=prefer"

    async with open_database(text + options) as database:
        assert await value(database, "SELECT current_database()") == url.database
        assert await value(database, "SHOW search_path") == "pg_catalog"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_channel_binding_is_refused_where_the_driver_cannot_do_it() -> None:
    """Some hosting providers print it; psycopg can."""
    with pytest.raises(InvalidValue, match=r"begin with postgresql\+psycopg://"):
        async with open_database("postgresql://h/d?channel_binding=require"):
            pass


async def test_a_server_that_has_no_tls_is_refused_if_it_is_required(
    proxied: tuple[str, Proxy],
) -> None:
    """And not talked to in the clear."""
    async with open_database(f"{proxied[0]}?sslmode=require") as database:
        with pytest.raises(DatabaseUnavailable, match="SSL"):
            await value(database)
