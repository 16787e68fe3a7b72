"""Aggregates with parts: whatever changes in one, its version tells of it, on every database."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import ensure_versions
from aftercommit.errors import ConcurrentUpdate, WiringError
from anyio.lowlevel import checkpoint
from sqlalchemy.orm import registry

from aftercommit_tests.builders import a_club
from aftercommit_tests.inside.errors import PartWithoutAggregate
from aftercommit_tests.things.domain import Aggregate, Club, ClubIsFull, Member
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]


async def store(world: World, club: Club) -> Club:
    async with world.a_uow() as uow:
        uow.clubs.add(club)
    return club


async def test_of_members_that_join_at_once_none_is_one_too_many(world: World) -> None:
    """A member is a row of its own: without the club's version, both of the last two would fit."""
    club = await store(world, a_club(*"ABCDEFGH", limit=10))
    refused: list[str] = []

    async def join(name: str) -> None:
        try:
            async with world.a_uow() as uow:
                found = await uow.clubs.get(club.id)
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


def join_and_leave(club: Club) -> None:
    club.join("C")
    club.leave("C")


CHANGES: dict[str, tuple[Callable[[Club], None], str, int]] = {
    "a part is new": (lambda club: club.join("C"), "ABC", 2),
    "a part has changed": (lambda club: club.rename("B", "Z"), "AZ", 2),
    "a part has gone": (lambda club: club.leave("B"), "A", 2),
    "a part has changed and gone": (rename_and_leave, "A", 2),
    # others could have seen nothing of it, and readers must not be in the way of each other
    "but not if a part has come and gone": (join_and_leave, "AB", 1),
    "but not if it was only read": (lambda club: None, "AB", 1),
}


@pytest.mark.parametrize(("change", "members", "version"), CHANGES.values(), ids=CHANGES)
async def test_the_version_of_an_aggregate_is_raised_if(
    change: Callable[[Club], None], members: str, version: int, world: World
) -> None:
    """Else two who have read the same could both change it, and break a rule together."""
    club = await store(world, a_club(*"AB"))

    async with world.a_uow() as uow:
        change(await uow.clubs.get(club.id))

    async with world.a_uow() as uow:
        found = await uow.clubs.get(club.id)
    assert (found.version, await world.members()) == (version, list(members))


async def test_a_part_that_is_changed_without_its_aggregate_is_refused(world: World) -> None:
    """Nobody would have looked at the rules of the whole, nor would its version tell others."""
    club = await store(world, a_club(*"AB"))

    with pytest.raises(PartWithoutAggregate, match="a Member was changed, .* load its aggregate"):
        async with world.a_uow() as uow:
            member = await uow.transaction.get(Member, club.members[0].id)
            assert member
            member.name = "Z"

    assert await world.members() == ["A", "B"]


UNVERSIONED: dict[str, str | None] = {
    "no column": None,
    "a column that is not used": "version",
    "a column of another name": "row",
}


@pytest.mark.parametrize("column", UNVERSIONED.values(), ids=UNVERSIONED)
def test_an_aggregate_that_is_mapped_without_its_version_is_refused_at_start(
    column: str | None,
) -> None:
    """Its lost updates would be seen by nobody."""

    class Flock(Aggregate):
        """One without parts."""

    mapping = registry()
    table = sa.Table("flock", mapping.metadata, sa.Column("id", sa.Integer, primary_key=True))
    options: dict[str, Any] = {}
    if column:
        table.append_column(sa.Column(column, sa.Integer))
        options = {"version_id_col": table.c[column]} if column != "version" else {}
    mapping.map_imperatively(Flock, table, **options)

    with pytest.raises(WiringError, match="(?s)mapped without a version.*They are: Flock$"):
        ensure_versions(mapping)
    mapping.dispose()


class Number(NamedTuple):
    """A key that is a value object; the base of most has no order."""

    value: int


class NumberType(sa.TypeDecorator[Number]):
    """Stores it as an integer."""

    impl, cache_ok = sa.Integer, True

    def process_result_value(self, value: Any, dialect: object) -> Number:
        """Make the object again."""
        return Number(value)


class OrderedNumberType(NumberType):
    """Says in which order its objects are."""

    cache_ok, sort_key_function = True, attrgetter("value")


@pytest.mark.parametrize("kind", [NumberType, OrderedNumberType])
def test_an_aggregate_whose_keys_have_no_order_is_refused_at_start(kind: type[NumberType]) -> None:
    """Two of them could not be changed in one unit of work: SQLAlchemy sorts their rows."""

    class Flock(Aggregate):
        """One without parts."""

    mapping = registry()
    key, version = sa.Column("id", kind, primary_key=True), sa.Column("version", sa.Integer)
    table = sa.Table("flock", mapping.metadata, key, version)
    mapping.map_imperatively(Flock, table, version_id_col=table.c.version)

    if kind is NumberType:
        with pytest.raises(WiringError, match="(?s)sort_key_function.*missing for: Flock$"):
            ensure_versions(mapping)
    else:
        ensure_versions(mapping)
    mapping.dispose()
