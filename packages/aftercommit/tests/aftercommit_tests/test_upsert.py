"""Rows that a query makes are inserted or updated by one statement: on each database."""

import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from aftercommit_tests.builders import a_thing
from aftercommit_tests.things.storage import things
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

list_ = sa.Table(
    "list",
    sa.MetaData(),
    sa.Column("thing_id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("newer", sa.Integer),
)
MADE = sa.select(things.c.id.label("thing_id"), things.c.name)


async def test_rows_are_inserted_or_updated_and_keep_what_the_query_does_not_name(
    world: World,
) -> None:
    """A newer process may have written a column that an older one does not know."""
    await world.execute(CreateTable(list_))
    lamp, chair = a_thing("lamp"), a_thing("chair")
    async with world.a_uow() as uow:
        uow.things.add(lamp)
        await uow.transaction.flush()
        await uow.transaction.upsert(list_, MADE)
    await world.execute(sa.update(list_).values(newer=7))

    async with world.a_uow() as uow:
        (await uow.things.get(lamp.id)).rename("bulb")
        uow.things.add(chair)
        await uow.transaction.flush()
        await uow.transaction.upsert(list_, MADE)

    found = await world.rows(*list_.c)
    assert {*found} == {(lamp.id, "bulb", 7), (chair.id, "chair", None)}


async def test_only_the_rows_that_the_query_makes_are_written(world: World) -> None:
    """And a unit of work that has upserted has written, so it is recorded as one."""
    await world.execute(CreateTable(list_))
    lamp, chair = a_thing("lamp"), a_thing("chair")
    async with world.a_uow() as uow:
        uow.things.add(lamp)
        uow.things.add(chair)
    one = MADE.where(things.c.id == sa.bindparam("id"))

    async with world.a_uow() as uow:
        for _ in range(2):
            await uow.transaction.upsert(list_, one, {"id": lamp.id})
        has_written = uow.transaction.has_written

    assert has_written
    assert {*await world.rows(*list_.c)} == {(lamp.id, "lamp", None)}
