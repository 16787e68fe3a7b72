"""The read model of users is made anew while registrations go on: on each database."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.extensions.operations.batched_transactions import count_rows
from aftercommit.extensions.operations.retention import prune
from aftercommit.process.application import Application

from allocation.adapters import orm
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail
from allocation.domain.events import UserId
from allocation.rebuild_users import ALL_USERS, rebuild
from tests.builders import a_batch, a_registration, a_user_id
from tests.integration.extensions.operations.conftest import change, rows

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small_batches")]

TRUTH = orm.user_rows
VIEW = sa.select(*(orm.user_view.c[column.name] for column in TRUTH.selected_columns))


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    async with bootstrap(settings) as application:
        yield application


async def register(application: Application, number: int, *, first: int = 0) -> Sequence[UserId]:
    ids = [a_user_id() for _ in range(number)]
    for n, user_id in enumerate(ids, first):
        command = a_registration(email=f"user{n}@example.com", user_id=user_id)
        await application.bus.handle(command)
    return ids


async def test_the_view_equals_the_aggregates_afterwards(application: Application) -> None:
    """Also of users whose events were forgotten, also the one with the smallest id."""
    await application.bus.handle(a_batch(quantity=5))
    await application.bus.handle(
        a_registration(email="nil@example.com", user_id=UserId(UUID(int=0)))
    )
    await register(application, 7)
    await prune(application.database, older_than=0)
    view = orm.user_view
    wrong = (
        sa.update(view).where(view.c.coupon_code.is_not(None)).values(name="?", coupon_code=None)
    )
    missing = sa.delete(view).where(view.c.coupon_code.is_(None), view.c.name != "?")
    nobody = [{"user_id": UUID(int=n), "name": "?", "email": "?"} for n in (1, 2**128 - 1)]
    await change(application.database, wrong, missing, sa.insert(view).values(nobody))
    told: list[int] = []

    assert await count_rows(application.database, ALL_USERS) == 8
    assert await rebuild(application.database, told.append) == 8

    assert told == [2, 2, 2, 2, 0]
    assert set(await rows(application.database, VIEW)) == set(
        await rows(application.database, TRUTH)
    )


async def test_registrations_and_changes_go_on_meanwhile(application: Application) -> None:
    """Nobody waits for the end of it, and nothing that happens meanwhile is missing."""
    await application.bus.handle(a_batch(quantity=30))
    ids = await register(application, 12)

    async def change() -> None:
        for n, user_id in enumerate(ids):
            command = ChangeEmail(user_id=user_id, new_email=f"new{n}@example.com")
            await application.bus.handle(command)

    async with anyio.create_task_group() as group:
        group.start_soon(change)
        group.start_soon(lambda: register(application, 12, first=12))
        for _ in range(2):
            group.start_soon(rebuild, application.database, lambda count: None)

    assert set(await rows(application.database, VIEW)) == set(
        await rows(application.database, TRUTH)
    )
    assert len(await rows(application.database, VIEW)) == 24
