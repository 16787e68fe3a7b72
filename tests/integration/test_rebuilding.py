"""The read model of users is made again while registrations go on: on each database."""

from uuid import UUID

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Application
from aftercommit.extensions.operations.retention import prune

from allocation.adapters import orm
from allocation.adapters.rebuilding import rebuild
from allocation.domain.events import UserId
from tests.builders import a_batch, a_change, a_registration
from tests.looking import change, rows

pytestmark = pytest.mark.anyio

VIEW = sa.select(*(orm.user_view.c[column.name] for column in orm.user_rows.selected_columns))


@pytest.fixture(autouse=True)
def small_batches_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows in each, so that a few users are many batches."""
    monkeypatch.setattr("aftercommit.extensions.operations.batched_transactions.BATCH_ROWS", 2)


async def assert_the_view_is_right(app: Application) -> None:
    assert {*await rows(app, VIEW)} == {*await rows(app, orm.user_rows)}


async def test_the_view_equals_the_aggregates_afterwards(each_app: Application) -> None:
    """Also of users whose events were pruned, also the one with the smallest id."""
    await each_app.bus.handle(a_batch(quantity=5))
    smallest = UserId(UUID(int=0))
    await each_app.bus.handle(a_registration(email="nil@example.com", user_id=smallest))
    for n in range(7):
        await each_app.bus.handle(a_registration(email=f"user{n}@example.com"))
    await prune(each_app.database, older_than=0)
    view = orm.user_view
    with_coupon = view.c.coupon_code.is_not(None)
    wrong = sa.update(view).where(with_coupon).values(name="?", coupon_code=None)
    missing = sa.delete(view).where(view.c.coupon_code.is_(None), view.c.name != "?")
    nobody = [{"user_id": UUID(int=n), "name": "?", "email": "?"} for n in (1, 2**128 - 1)]
    await change(each_app, wrong, missing, sa.insert(view).values(nobody))
    advanced: list[int] = []

    assert await rebuild(each_app.database, advanced.append) == 8

    assert sum(advanced) == 8
    await assert_the_view_is_right(each_app)


async def test_registrations_and_changes_go_on_meanwhile(each_app: Application) -> None:
    """Nobody waits for the end of it, and nothing that happens meanwhile is missing."""
    await each_app.bus.handle(a_batch(quantity=16))
    known = [a_registration(email=f"user{n}@example.com") for n in range(8)]
    for registration in known:
        await each_app.bus.handle(registration)

    async def change_all() -> None:
        for n, user in enumerate(known):
            await each_app.bus.handle(a_change(user, new_email=f"new{n}@example.com"))

    async def register_more() -> None:
        for n in range(8):
            await each_app.bus.handle(a_registration(email=f"more{n}@example.com"))

    async with anyio.create_task_group() as group:
        group.start_soon(change_all)
        group.start_soon(register_more)
        for _ in range(2):
            group.start_soon(rebuild, each_app.database, lambda count: None)

    await assert_the_view_is_right(each_app)
    assert len(await rows(each_app, VIEW)) == 16
