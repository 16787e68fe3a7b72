"""Two applications on one server: each sees its own sessions, locks and notifications only."""

from contextlib import AsyncExitStack
from functools import partial

import anyio
import pytest
from aftercommit.sql.exceptions import DatabaseUnavailable
from sqlalchemy import text

from tests.builders import open_database
from tests.integration.extensions.postgresql.listening import listening
from tests.worlds import on

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("driver", ["", "anyio"])]

LONG = 1000.0  # in which nobody looks whether a listener is still connected


async def test_sessions_have_the_name_of_their_application(postgres_url: str, driver: str) -> None:
    """An application ends sessions of its own that are frozen, and none of others."""
    url = on(driver, postgres_url)
    async with (
        open_database(url, application="shop") as database,
        database.read_transaction() as transaction,
    ):
        name = (await transaction.execute(text("SHOW application_name"))).scalar_one()

    assert name == f"shop:{database.process}"


async def test_nobody_is_woken_by_another_application(postgres_url: str, driver: str) -> None:
    """The server tells all that listen in the order of the commits, so the last one has come."""
    url = on(driver, postgres_url)
    heard: dict[str, list[str]] = {"allocation": [], "shop": []}
    async with AsyncExitStack() as opened:
        databases = {
            name: await opened.enter_async_context(
                open_database(url, application=name, handler_timeout=LONG)
            )
            for name in heard
        }
        woken = {name: anyio.Event() for name in heard}
        sender = "allocation"

        def wake(name: str) -> None:
            heard[name].append(sender)
            woken[name].set()

        for name, database in databases.items():
            await opened.enter_async_context(listening(database, partial(wake, name)))
        for sender in ("allocation", "shop"):
            async with databases[sender].write_transaction() as transaction:
                await transaction.execute(text("SELECT 1"))
                transaction.notify_workers()
                await transaction.commit()
            with anyio.fail_after(60):
                await woken[sender].wait()

        assert heard == {"allocation": ["allocation"], "shop": ["shop"]}


async def test_nobody_waits_for_the_upgrade_of_another_schema(
    postgres_url: str, driver: str
) -> None:
    """Who upgrades the same one does wait, also another application, which is refused then."""
    url = on(driver, postgres_url)
    async with (
        open_database(url) as upgrading,
        open_database(url, application="shop", handler_timeout=0.5) as other,
        upgrading.write_transaction() as first,
    ):
        await first.run_sync(upgrading.backend.prepare_upgrade)
        with anyio.fail_after(60):
            async with other.write_transaction() as transaction:
                await transaction.execute(text("CREATE SCHEMA shop"))
                await transaction.execute(text("SET LOCAL search_path = shop"))
                await transaction.run_sync(other.backend.prepare_upgrade)
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            async with other.write_transaction() as transaction:
                await transaction.run_sync(other.backend.prepare_upgrade)
