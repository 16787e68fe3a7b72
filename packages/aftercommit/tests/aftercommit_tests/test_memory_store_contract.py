"""The store of the test kit does with aggregates what a transaction does with them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aftercommit import AggregateStore, Repository
from aftercommit.testing import MemoryStore

from aftercommit_tests.builders import a_thing, a_thing_id
from aftercommit_tests.things.domain import (
    Thing,
    ThingBroken,
    ThingId,
    ThingMade,
    ThingNotFound,
    ThingPolished,
)
from aftercommit_tests.world import World

pytestmark = pytest.mark.everywhere

NewStore = Callable[[], AbstractAsyncContextManager[AggregateStore]]


def in_memory() -> NewStore:
    """Return what opens one store after the other, each with what those before have left."""
    stored = dict[object, None]()

    @asynccontextmanager
    async def new_store() -> AsyncIterator[AggregateStore]:
        yield (store := MemoryStore({Thing: "id"}, *stored))
        stored.update(dict.fromkeys(store.seen))

    return new_store


def in_database(world: World) -> NewStore:
    """Return what opens one transaction after the other."""

    @asynccontextmanager
    async def new_store() -> AsyncIterator[AggregateStore]:
        async with world.a_uow() as uow:
            yield uow.transaction

    return new_store


BRANCHES: dict[str, Callable[[Thing], object]] = {
    "and": lambda thing: thing.name == "lamp" and thing.version == 1,
    "or": lambda thing: thing.name == "lamp" or thing.name == "chair",
    "not": lambda thing: not thing.version,
    "in": lambda thing: thing.name in ("lamp", "chair"),
    "is": lambda thing: thing is thing,
    "if": lambda thing: thing.name if thing.version else "",
    "two comparisons in a row": lambda thing: 1 < thing.version < 3,
}


@pytest.mark.anyio
class StoreContract:
    """A subclass says in its fixture `new_store` where it is."""

    async def test_an_aggregate_is_found_by_its_key(self, new_store: NewStore) -> None:
        """And nothing is, where there is none."""
        lamp, chair = a_thing("lamp"), a_thing("chair")
        async with new_store() as store:
            for thing in (lamp, chair):
                store.add(thing)

        async with new_store() as store:
            found = await store.get(Thing, chair.id)
            assert await store.get(Thing, a_thing_id()) is None

        assert found
        assert (found.id, found.name) == (chair.id, "chair")

    async def test_what_is_added_is_found_after_the_commit(self, new_store: NewStore) -> None:
        """A handler that has added something knows it already."""
        thing = a_thing()

        async with new_store() as store:
            store.add(thing)
            found_before = await store.get(Thing, thing.id)

        async with new_store() as store:
            assert (found_before, await store.get(Thing, thing.id) is None) == (None, False)

    async def test_what_is_added_or_loaded_is_seen(self, new_store: NewStore) -> None:
        """Its events are stored with the commit; what is not found has none."""
        lamp, chair = a_thing("lamp"), a_thing("chair")
        async with new_store() as store:
            store.add(lamp)

        async with new_store() as store:
            await store.get(Thing, a_thing_id())
            found = await store.get(Thing, lamp.id)
            store.add(chair)

            assert store.seen == [found, chair]

    @pytest.mark.parametrize("locked", [False, True])
    async def test_a_query_finds_what_it_says_in_its_order(
        self, new_store: NewStore, locked: bool
    ) -> None:
        """One declaration is the SQL of a database, and the loop of a unit test."""
        async with new_store() as store:
            for name in ("lamp", "chair", "Box", "box", "anvil"):
                store.add(a_thing(name))

        async with new_store() as store:
            things = Repository[Thing, ThingId](store, Thing, ThingNotFound, locked=locked)
            found = await things.matching(
                lambda thing: (
                    ((thing.name > "anvil") & (thing.name < "lamp")) | (thing.name == "Box")
                ),
                order_by=lambda thing: (thing.version, thing.name),
                limit=2,
            )
            last = await things.first(lambda thing: thing.name >= "c", order_by=lambda it: it.name)
            nothing = await things.first(lambda it: it.name == "bed", order_by=lambda it: it.name)

        assert [thing.name for thing in found] == ["Box", "box"]
        assert last
        assert (last.name, nothing) == ("chair", None)

    @pytest.mark.parametrize("locked", [False, True])
    async def test_a_query_sees_what_this_unit_of_work_has_changed(
        self, new_store: NewStore, locked: bool
    ) -> None:
        """And what it has added, though nothing is committed yet."""
        lamp = a_thing("lamp")
        async with new_store() as store:
            store.add(lamp)

        async with new_store() as store:
            things = Repository[Thing, ThingId](store, Thing, ThingNotFound, locked=locked)
            (await things.get(lamp.id)).rename("bulb")
            things.add(chair := a_thing("chair"))
            found = await things.matching(
                lambda thing: thing.name > "a", order_by=lambda it: it.name
            )
            again = await things.get(lamp.id)

        assert [(thing.id, thing.name) for thing in found] == [
            (lamp.id, "bulb"),
            (chair.id, "chair"),
        ]
        assert again is found[0]

    @pytest.mark.parametrize("query", BRANCHES.values(), ids=BRANCHES)
    async def test_a_query_that_python_would_decide_is_refused(
        self, new_store: NewStore, query: Callable[[Thing], object]
    ) -> None:
        """In SQL, a part of it would be lost, and it would find too much."""
        async with new_store() as store:
            things = Repository[Thing, ThingId](store, Thing, ThingNotFound)
            with pytest.raises(TypeError, match=r"test_memory_store_contract.py.*\(…\) & \(…\)"):
                await things.matching(query)
            with pytest.raises(TypeError):
                await things.matching(lambda thing: thing.name != "", order_by=query)


class TestInMemory(StoreContract):
    """Without a database."""

    @pytest.fixture
    def new_store(self) -> NewStore:
        return in_memory()


class TestInDatabase(StoreContract):
    """In a transaction, on each database."""

    @pytest.fixture
    def new_store(self, world: World) -> NewStore:
        return in_database(world)


def test_the_events_are_those_that_a_commit_would_store() -> None:
    """Of none, and of what was seen; what is stored was committed."""
    lamp, chair = a_thing("lamp"), a_thing("chair")
    store = MemoryStore({Thing: "id"}, lamp)

    [found] = store.load_all(Thing, lambda thing: thing.name == "lamp")
    found.polish()
    for new in (chair, object()):
        store.add(new)
    store.record(broken := ThingBroken(thing_id=a_thing_id()), subject="nobody")

    assert store.pull_events() == [
        broken,
        ThingPolished(thing_id=lamp.id, name="lamp"),
        ThingMade(thing_id=chair.id, name="chair"),
    ]
    assert store.pull_events() == []
