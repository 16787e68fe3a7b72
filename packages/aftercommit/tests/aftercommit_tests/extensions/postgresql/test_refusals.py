"""What PostgreSQL does not accept, and what its URLs can say."""

import pytest
from aftercommit.errors import InvalidValue
from aftercommit.extensions.postgresql.backend import PermissionDenied
from aftercommit.sql.exceptions import DatabaseUnavailable, StatementRefused
from sqlalchemy import text

from aftercommit_tests.extensions.postgresql.server import value
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = pytest.mark.anyio

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
    "postgresql://h/d?ssl=require": "unknown option: ssl; libpq's are known, such as ssl",
    "postgresql+anyio://h/d?command_timeout=3&a=b": "unknown option: a, command_timeout",
    "postgresql://h/d?connect_timeout=soon": "has an option that is wrong: .*'soon'",
}


@pytest.mark.parametrize(("url", "problem"), REFUSED_URLS.items())
async def test_what_a_url_cannot_have_is_named(url: str, problem: str) -> None:
    """A word that one driver knows and another does not."""
    with pytest.raises(InvalidValue, match=problem):
        async with open_database(url):
            pass


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_the_driver_of_another_event_loop_is_refused() -> None:
    """In one sentence, at start, not with a traceback at the first statement."""
    with pytest.raises(InvalidValue, match=r"names postgresql\+asyncpg, which is not supported"):
        async with open_database("postgresql+asyncpg:///things"):
            pass


async def test_options_of_libpq_are_understood(url: str) -> None:
    """They are what people know, and what hosting providers print."""
    more = "sslmode=prefer&application_name=shop&connect_timeout=5&target_session_attrs=any"
    async with open_database(f"{url}{'&' if '?' in url else '?'}{more}") as database:
        assert await value(database, "SHOW application_name") == "things:shop"


async def test_a_server_that_has_no_tls_is_refused_if_it_is_required(
    proxied: tuple[str, Proxy],
) -> None:
    """And not talked to in the clear."""
    async with open_database(f"{proxied[0]}?sslmode=require") as database:
        with pytest.raises(DatabaseUnavailable, match="SSL"):
            await value(database)
