"""What a change of an application still lacks is named by its tests."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from aftercommit import Application, Handlers, on, testing
from sqlalchemy.orm import registry

from aftercommit_tests.things import domain, handlers, storage
from aftercommit_tests.things.app import APP

pytestmark = pytest.mark.anyio


class Shelf(domain.Aggregate):
    """What `put` has set is gone when it is loaded again."""

    def put(self, thing: str) -> None:
        self.things, self.version = [thing], 1


@dataclass
class Box:
    """So is what nobody has mapped."""

    id: int
    colour: str


class SellThing(domain.Command):
    """A command that nobody handles."""


async def polish_all(event: domain.ThingMade) -> None:
    """A handler that nobody calls."""


async def test_an_application_in_order_lacks_nothing(database_url: str) -> None:
    """What is mapped, listed and migrated is no omission; nor are the engine's tables."""
    async with APP.open(APP.load({"database_url": database_url})) as application:
        assert await testing.omissions(application, storage.mapping, handlers, domain) == []


async def test_rows_columns_and_migrations_are_missed(sqlite_url: str) -> None:
    """Each with the name of what is meant."""
    more = ModuleType("more")
    new = {"__name__": "more", "polish_all": polish_all, "SellThing": SellThing}
    vars(more).update(vars(handlers) | new)
    polish_all.__module__ = "more"
    mapping = registry()
    for class_ in (Shelf, Box):
        columns = sa.Column("id", sa.Integer, primary_key=True), sa.Column("version", sa.Integer)
        table = sa.Table(class_.__name__, mapping.metadata, *columns)
        mapping.map_imperatively(class_, table)
    async with APP.open(APP.load({"database_url": sqlite_url})) as application:
        await _add_a_column(application)

        found = await testing.omissions(application, mapping, more, more)
    mapping.dispose()

    assert sorted(each.partition(":")[0] for each in found) == [
        "Box.colour has no column",
        "SellThing has no entry in the table of more",
        "Shelf.things has no column",
        "polish_all is in no entry of the table of more",
        "write a migration",
    ]
    assert "Column('colour', VARCHAR(), table=<things>)" in found[-1]


async def _add_a_column(application: Application) -> None:
    async with application.database.write_transaction() as transaction:
        await transaction.execute(sa.text("ALTER TABLE things ADD COLUMN colour VARCHAR"))
        await transaction.commit()


async def makes_and_adds(command: SellThing, uow: storage.UnitOfWork) -> None:
    thing = domain.Thing.make(domain.ThingId(uuid4()), "lamp")
    uow.things.add(thing)


async def makes_several(command: SellThing, uow: storage.UnitOfWork) -> None:
    things = {}
    for name in ("lamp", "chair"):
        things[name] = domain.Thing.make(domain.ThingId(uuid4()), name)
        uow.things.add(things[name])


async def makes_and_forgets(command: SellThing, uow: storage.UnitOfWork) -> None:
    thing = domain.Thing.make(domain.ThingId(uuid4()), "lamp")
    thing.rename("torch")


async def makes_for_nobody(command: SellThing, uow: storage.UnitOfWork) -> None:
    domain.Thing.make(domain.ThingId(uuid4()), "lamp")


@pytest.mark.parametrize(
    ("handler", "missed"),
    [
        (makes_and_adds, []),
        (makes_several, []),
        (makes_and_forgets, ["makes_and_forgets makes Thing, and adds it to no repository"]),
        (makes_for_nobody, ["makes_for_nobody makes Thing, and adds it to no repository"]),
    ],
)
async def test_an_aggregate_that_is_made_and_never_added_is_missed(
    handler: Callable[..., Any], missed: list[str], sqlite_url: str
) -> None:
    """Its handler returns, so it counts as done, and nothing is stored."""
    module = ModuleType("more")
    vars(module)["TABLE"] = Handlers(commands=[on(SellThing, handler)], events=[])
    async with APP.open(APP.load({"database_url": sqlite_url})) as application:
        found = await testing.omissions(application, storage.mapping, module)

    assert [each.partition(",")[0] + ", and adds it to no repository" for each in found] == missed
