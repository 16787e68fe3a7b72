"""Two applications on one server: each sees its own sessions, locks and notifications only."""

from contextlib import AsyncExitStack
from functools import partial

import anyio
import pytest
from aftercommit.sql.exceptions import DatabaseUnavailable
from aftercommit.sql.schema import ensure_schema
from sqlalchemy import make_url, text

from aftercommit_tests.builders import on
from aftercommit_tests.extensions.postgresql.server import (
    ENOUGH_SECONDS,
    change,
    listening,
    value,
)
from aftercommit_tests.extensions.postgresql.test_notifications import LONG, write
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = pytest.mark.anyio


async def test_sessions_have_the_names_of_their_application_and_process(url: str) -> None:
    """An application ends sessions of its own that are frozen, and none of others.

    Whoever looks for the holder of a lock in pg_stat_activity finds the process by the name.
    """
    asked = "SHOW application_name"
    async with open_database(url, application="shop", instance_name="Ann's") as database:
        assert await value(database, asked) == f"shop:{database.process}"
        assert database.process.startswith("Ann's@")

    async with open_database(f"{url}{'&' if '?' in url else '?'}application_name=a") as database:
        assert await value(database, asked) == "things:a"


async def test_nobody_is_woken_by_another_application(url: str) -> None:
    """The server tells all that listen in the order of the commits, so the last one has come."""
    heard: dict[str, list[str]] = {"things": [], "shop": []}
    woken = {name: anyio.Event() for name in heard}

    def wake(name: str) -> None:
        heard[name].append(sender)
        woken[name].set()

    async with AsyncExitStack() as opened:
        databases = {}
        for name in heard:
            opening = open_database(url, application=name, handler_timeout=LONG)
            databases[name] = await opened.enter_async_context(opening)
            await opened.enter_async_context(listening(databases[name], partial(wake, name)))
        for sender in ("things", "shop"):
            await write(databases[sender])
            with anyio.fail_after(ENOUGH_SECONDS):
                await woken[sender].wait()

    assert heard == {"things": ["things"], "shop": ["shop"]}


async def test_nobody_waits_for_the_upgrade_of_another_schema(url: str) -> None:
    """Who upgrades the same one does wait, also another application, which is refused then."""
    async with (
        open_database(url) as upgrading,
        open_database(url, application="shop", handler_timeout=0.5) as other,
        upgrading.write_transaction() as first,
    ):
        await first.run_sync(upgrading.backend.prepare_upgrade)
        with anyio.fail_after(ENOUGH_SECONDS):
            async with other.write_transaction() as transaction:
                await transaction.execute(text("CREATE SCHEMA shop"))
                await transaction.execute(text("SET LOCAL search_path = shop"))
                await transaction.run_sync(other.backend.prepare_upgrade)
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            async with other.write_transaction() as transaction:
                await transaction.run_sync(other.backend.prepare_upgrade)


async def test_two_applications_have_a_schema_each_in_one_database(
    empty_postgres_url: str, place: tuple[str, str]
) -> None:
    """As the error says that the second one gets without a schema of its own."""
    url, name = on(place[1], empty_postgres_url), make_url(empty_postgres_url).database
    async with open_database(url) as database:
        await ensure_schema(database)
        path = f"ALTER DATABASE {name} SET search_path = shop"
        await change(database, "CREATE SCHEMA shop", path)

    async with open_database(url, application="shop", history=None) as database:
        await ensure_schema(database)
        for schema, owner in (("public", "things"), ("shop", "shop")):
            found = await value(database, f"SELECT name FROM {schema}.aftercommit_application")
            assert found == owner
