"""What a violated constraint means: told by its name, on each database and driver."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from aftercommit import Database
from aftercommit.errors import ConcurrentUpdate
from sqlalchemy.orm import registry

from aftercommit_tests.builders import on
from aftercommit_tests.inside.errors import StatementRefused
from aftercommit_tests.things.app import open_things_database as open_database
from aftercommit_tests.things.domain import Aggregate

pytestmark = pytest.mark.anyio


class Gadget(Aggregate):
    """Something with all kinds of constraints."""

    def __init__(self, **values: object) -> None:
        self.id, self.version = uuid4(), 0
        defaults = {"serial": "s", "shelf": "a", "place": 1, "label": uuid4().hex, "owner": None}
        for name, value in (defaults | values).items():
            setattr(self, name, value)


tables = sa.MetaData()
people = sa.Table("people", tables, sa.Column("id", sa.Integer, primary_key=True))
gadgets = sa.Table(
    "gadgets",
    tables,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("serial", sa.String, nullable=False),
    sa.Column("shelf", sa.String),
    sa.Column("place", sa.Integer, sa.CheckConstraint("place > 0", name="ck_gadgets_place")),
    sa.Column("label", sa.String),
    sa.Column("owner", sa.Integer, sa.ForeignKey(people.c.id, name="fk_gadgets_owner")),
    sa.UniqueConstraint("serial", name="uq_gadgets_serial"),
    sa.UniqueConstraint("shelf", "place", name="uq_gadgets_place"),
    sa.Index("uq_gadgets_label", sa.text("lower(label)"), unique=True),
)
registry(metadata=tables).map_imperatively(Gadget, gadgets, version_id_col=gadgets.c.version)


class TakenError(Exception):
    """What a constraint means to this application."""


def refusals(seen: Sequence[object]) -> Mapping[str, Exception]:
    assert all(isinstance(entity, Gadget) for entity in seen)
    return {each: TakenError(each) for each in ("uq_gadgets_serial", "uq_gadgets_label")}


async def store(database: Database, **values: Any) -> None:
    async with database.write_transaction() as transaction:
        transaction.refusals = refusals
        transaction.add(Gadget(**values))
        await transaction.flush()
        await transaction.commit()


async def with_a_gadget(database: Database) -> None:
    async with database.write_transaction() as transaction:
        await transaction.run_sync(tables.create_all)
        await transaction.commit()
    await store(database, serial="one", label="Blue")


VIOLATIONS: dict[str, tuple[dict[str, object], type[Exception], str]] = {
    # SQLite does not name it: its columns do, or it is an index of an expression
    "what means something": ({"serial": "one", "place": 2}, TakenError, "^uq_gadgets_serial$"),
    "an index that means something": (
        {"serial": "two", "label": "BLUE", "place": 2},
        TakenError,
        "^uq_gadgets_label$",
    ),
    # a fresh transaction reads what has changed, and decides again
    "what means nothing": (
        {"serial": "two"},
        ConcurrentUpdate,
        "it violates uq_gadgets_place, which `refusals` does not explain",
    ),
    "a row that is gone": ({"serial": "two", "place": 2, "owner": 7}, ConcurrentUpdate, "."),
    # a mistake of ours: to call it a conflict would try it again and again
    "what is missing": ({"serial": None, "place": 2}, StatementRefused, "."),
    "what is out of range": ({"serial": "two", "place": 0}, StatementRefused, "."),
}


@pytest.mark.parametrize("driver", ["", "anyio"])
@pytest.mark.parametrize(("values", "error", "told"), VIOLATIONS.values(), ids=VIOLATIONS)
async def test_a_constraint_means_what_the_application_says_or_a_conflict_or_a_mistake(
    database_url: str, driver: str, values: dict[str, object], error: type[Exception], told: str
) -> None:
    """On each driver the same."""
    async with open_database(on(driver, database_url)) as database:
        await with_a_gadget(database)

        with pytest.raises(error, match=told):
            await store(database, **values)


async def test_a_transaction_of_nobody_knows_no_meaning(database_url: str) -> None:
    """Such as one of an operator: what it violates is a conflict."""
    async with open_database(database_url) as database:
        await with_a_gadget(database)

        async with database.write_transaction() as transaction:
            transaction.add(Gadget(serial="one", place=2))
            with pytest.raises(ConcurrentUpdate):
                await transaction.flush()
