"""Two applications on one server: each sees its own sessions and locks only."""

import anyio
import pytest
from aftercommit import ensure_schema
from sqlalchemy import make_url, text

from aftercommit_tests.builders import on
from aftercommit_tests.extensions.postgresql.server import ENOUGH_SECONDS, change, value
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "trio-anyio")]


async def test_sessions_have_the_names_of_their_application_and_process(url: str) -> None:
    """An application ends sessions of its own that are frozen, and none of others.

    Anyone who looks for the holder of a lock in pg_stat_activity finds the process by the name.
    """
    async with open_database(url, application="shop", instance_name="Ann's") as database:
        assert await value(database, "SHOW application_name") == f"shop:{database.process}"
        assert database.process.startswith("Ann's@")


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
