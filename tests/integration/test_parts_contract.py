"""Aggregates with parts: whatever changes in one, its version tells of it, on every database."""

import sys
from collections.abc import AsyncIterator, Callable
from subprocess import run

import anyio
import pytest
from aftercommit.errors import ConcurrentUpdate
from aftercommit.sql.exceptions import PartWithoutAggregate
from anyio.lowlevel import checkpoint

from tests.things import Club, ClubIsFull, Member, a_club, clubs_of
from tests.worlds import SqlWorld, World, a_uow, sql_world

pytestmark = pytest.mark.anyio


async def store(world: World, club: Club) -> Club:
    async with a_uow(world) as uow:
        clubs_of(uow).add(club)
    return club


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[SqlWorld]:
    """A world on a database, without the fakes."""
    async with sql_world(database_url) as world:
        yield world


async def test_of_members_that_join_at_once_none_is_one_too_many(world: World) -> None:
    """A member is a row of its own: without the club's version, both of the last two would fit."""
    club = await store(world, a_club(*"ABCDEFGH", limit=10))
    refused: list[str] = []

    async def join(name: str) -> None:
        try:
            async with a_uow(world) as uow:
                found = await clubs_of(uow).get(club.id)
                await checkpoint()
                found.join(name)
        except ConcurrentUpdate:  # as the bus does
            await join(name)
        except ClubIsFull:
            refused.append(name)

    async with anyio.create_task_group() as group:
        for name in "IJKLMN":
            group.start_soon(join, name)

    assert len(await world.members()) == 10
    assert len(refused) == 4


def rename_and_leave(club: Club) -> None:
    club.rename("B", "Z")
    club.leave("Z")


CHANGES: dict[str, tuple[Callable[[Club], None], str]] = {
    "a part is new": (lambda club: club.join("C"), "ABC"),
    "a part has changed": (lambda club: club.rename("B", "Z"), "AZ"),
    "a part has gone": (lambda club: club.leave("B"), "A"),
    "a part has changed and gone": (rename_and_leave, "A"),
}


@pytest.mark.parametrize(("change", "members"), CHANGES.values(), ids=CHANGES)
async def test_the_version_of_an_aggregate_is_raised_if(
    change: Callable[[Club], None], members: str, world: World
) -> None:
    """Else two who have read the same could both change it, and break a rule together."""
    club = await store(world, a_club(*"AB"))

    async with a_uow(world) as uow:
        change(await clubs_of(uow).get(club.id))

    async with a_uow(world) as uow:
        found = await clubs_of(uow).get(club.id)
    assert (found.version, await world.members()) == (2, list(members))


async def test_an_aggregate_that_is_only_read_keeps_its_version(sql: SqlWorld) -> None:
    """Readers must not be in the way of each other."""
    club = await store(sql, a_club(*"AB"))

    for _ in range(2):
        async with a_uow(sql) as uow:
            found = await clubs_of(uow).get(club.id)

    assert found.version == 1


async def test_a_part_that_comes_and_goes_changes_nothing(sql: SqlWorld) -> None:
    """Nothing of it is left that others could have seen."""
    club = await store(sql, a_club(*"AB"))

    async with a_uow(sql) as uow:
        found = await clubs_of(uow).get(club.id)
        found.join("C")
        found.leave("C")

    assert (found.version, await sql.members()) == (1, ["A", "B"])


async def test_a_part_that_is_changed_without_its_aggregate_is_refused(sql: SqlWorld) -> None:
    """Nobody would have looked at the rules of the whole, nor would its version tell others."""
    club = await store(sql, a_club(*"AB"))
    member_id = club.members[0].id

    with pytest.raises(PartWithoutAggregate, match="a Member was changed, .* load its aggregate"):
        async with a_uow(sql) as uow:
            member = await uow._store.get(Member, member_id)
            assert member
            member.name = "Z"

    assert await sql.members() == ["A", "B"]


WITHOUT_VERSION = """
import sqlalchemy as sa
from allocation.adapters import orm
from allocation.domain.aggregate import Aggregate

class Club(Aggregate):
    key = 1

club = sa.Table("club", orm.metadata, sa.Column("id", sa.Integer, primary_key=True), {columns})
orm._mapping.map_imperatively(Club, club, {options})
orm.start_mappers()
"""
UNVERSIONED = {
    "no column": ("", ""),
    "a column that is not used": ('sa.Column("version", sa.Integer)', ""),
    "a column of another name": ('sa.Column("row", sa.Integer)', "version_id_col=club.c.row"),
}


@pytest.mark.parametrize(("columns", "options"), UNVERSIONED.values(), ids=UNVERSIONED)
def test_an_aggregate_that_is_mapped_without_its_version_is_refused_at_start(
    columns: str, options: str
) -> None:
    """Its lost updates would be seen by nobody."""
    code = WITHOUT_VERSION.format(columns=columns, options=options)

    started = run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert started.returncode == 1
    assert "WiringError: aggregates are mapped without a version" in started.stderr
    assert started.stderr.endswith("version_id_col=table.c.version). They are: Club\n")
