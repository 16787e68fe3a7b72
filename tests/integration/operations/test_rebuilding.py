"""The read model of users is made anew while registrations go on: on each database."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import anyio
import pytest
import sqlalchemy as sa

from allocation.adapters import orm
from allocation.adapters.operations.forgetting import forget
from allocation.adapters.operations.rebuilding import count_users, rebuild_users
from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail
from allocation.domain.events import UserId
from tests.builders import a_batch, a_registration, a_user_id

pytestmark = pytest.mark.anyio

TRUTH = sa.select(
    orm.users.c.id, orm.users.c.name, orm.users.c.email, orm.coupons.c.code
).outerjoin_from(orm.users, orm.coupons)
VIEW = sa.select(
    orm.user_view.c.user_id,
    sa.type_coerce(orm.user_view.c.name, orm.users.c.name.type),
    sa.type_coerce(orm.user_view.c.email, orm.users.c.email.type),
    orm.user_view.c.coupon,
)


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    async with bootstrap(settings) as application:
        yield application


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three users in each."""
    monkeypatch.setattr("allocation.adapters.operations.batches.BATCH_ROWS", 3)


async def rows(application: Application, statement: sa.Select[Any]) -> set[Any]:
    async with application.database.reading() as session:
        return {tuple(row) for row in await session.execute(statement)}


async def execute(application: Application, *statements: Any) -> None:
    async with application.database.writing() as session:
        for statement in statements:
            await session.execute(statement)
        await session.commit()


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
    await forget(application.database, older_than=0)
    view = orm.user_view
    wrong = sa.update(view).where(view.c.coupon.is_not(None)).values(name="?", coupon=None)
    missing = sa.delete(view).where(view.c.coupon.is_(None), view.c.name != "?")
    nobody = [{"user_id": UUID(int=n), "name": "?", "email": "?"} for n in (1, 2**128 - 1)]
    await execute(application, wrong, missing, sa.insert(view).values(nobody))
    told: list[int] = []

    assert await count_users(application.database) == 8
    assert await rebuild_users(application.database, told.append) == 8

    assert told == [3, 3, 2]
    assert await rows(application, VIEW) == await rows(application, TRUTH)


async def test_without_users_it_is_empty_afterwards(application: Application) -> None:
    """Rows of nobody go."""
    nobody = {"user_id": UUID(int=7), "name": "?", "email": "?"}
    await execute(application, sa.insert(orm.user_view).values(nobody))

    assert await rebuild_users(application.database, lambda count: None) == 0

    assert await rows(application, VIEW) == set()


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
            group.start_soon(rebuild_users, application.database, lambda count: None)

    assert await rows(application, VIEW) == await rows(application, TRUTH)
    assert len(await rows(application, VIEW)) == 24
