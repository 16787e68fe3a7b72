"""Whoever waits for a locked aggregate gets one that still matches when the wait is over."""

import anyio
import pytest
from aftercommit import Repository
from sqlalchemy import text

from aftercommit_tests.builders import a_thing
from aftercommit_tests.things.domain import Thing, ThingId, ThingNotFound
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-postgres")]

LIMIT_SECONDS = 60
WAITING = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


async def somebody_waits(world: World) -> None:
    with anyio.fail_after(LIMIT_SECONDS):
        while True:
            async with world.database.read_transaction() as transaction:
                if (await transaction.execute(WAITING)).scalar_one():
                    return
            await anyio.sleep(0.01)


async def first_free(uow: UnitOfWork) -> Thing | None:
    things = Repository[Thing, ThingId](uow.transaction, Thing, ThingNotFound, locked=True)
    return await things.first(lambda it: it.name < "free-z", order_by=lambda it: it.name)


@pytest.mark.parametrize("is_one_left", [True, False])
async def test_what_has_become_free_meanwhile_is_found(world: World, is_one_left: bool) -> None:
    """PostgreSQL leaves out what was taken while it waited, and does not see what is new."""
    async with world.a_uow() as uow:
        for name in ("free-1", "taken-2"):
            uow.things.add(a_thing(name))
    found: list[str | None] = []

    async def take() -> None:
        async with world.a_uow() as uow:
            thing = await first_free(uow)
            found.append(thing.name if thing else None)

    async with anyio.create_task_group() as group, world.a_uow() as uow:
        first = await first_free(uow)
        assert first
        first.rename("taken-1")
        if is_one_left:
            uow.things.add(a_thing("free-2"))
        await uow.transaction.flush()
        group.start_soon(take)
        await somebody_waits(world)

    assert found == ["free-2" if is_one_left else None]
