"""The rows of the list of users, refreshed by several at once, on PostgreSQL.

On SQLite, only one writes at a time.
"""

from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Application, testing

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.users import User
from allocation.entrypoints.app import APP
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import a_coupon_batch, a_user
from tests.looking import users
from tests.repositories_contract import available

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-postgres")]

LIMIT_SECONDS = 60
WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
async def app(app_settings: Settings, postgres_copy: str) -> AsyncIterator[Application]:
    """The application on PostgreSQL, where transactions may wait as long as this test."""
    async with bootstrap(APP, Settings(database_url=postgres_copy), delivers=False) as application:
        yield application


async def refresh(app: Application, user: User) -> None:
    async with testing.unit_of_work(app) as uow:
        await uow.user_view.refresh(user.id)


async def somebody_waits(app: Application) -> None:
    with anyio.fail_after(LIMIT_SECONDS):
        while True:
            async with app.database.read_transaction() as transaction:
                if (await transaction.execute(WAITING)).scalar_one():
                    return
            await anyio.sleep(0.01)


async def give_coupon(uow: UnitOfWork, user: User) -> None:
    uow.coupons.add((await available(uow)).allocate(user.id, token="1"))


@pytest.fixture
async def user(app: Application) -> User:
    """A user who can have a coupon."""
    user = a_user(email="ivan@example.com")
    async with testing.unit_of_work(app) as uow:
        uow.users.add(user)
        uow.coupon_batches.add(a_coupon_batch())
    return user


async def test_a_refresh_that_began_before_a_coupon_does_not_hide_it(
    app: Application, user: User
) -> None:
    """It would write the row as it was before; and nothing would refresh it again."""
    await refresh(app, user)

    async with anyio.create_task_group() as group, testing.unit_of_work(app) as uow:
        await give_coupon(uow, user)
        await uow.user_view.refresh(user.id)
        group.start_soon(partial(refresh, app, user))
        await somebody_waits(app)

    assert (await users(app))["ivan@example.com"].coupon_code == "WELCOME-1"


async def test_a_refresh_waits_for_nobody_who_allocates_a_coupon(
    app: Application, user: User
) -> None:
    """Who holds the batch may be about to wait for a refresh."""
    async with testing.unit_of_work(app) as uow:
        await give_coupon(uow, user)
        await uow._store.flush()

        with anyio.fail_after(LIMIT_SECONDS):
            await refresh(app, user)

    assert (await users(app))["ivan@example.com"].coupon_code is None
