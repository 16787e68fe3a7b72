"""The store of the test kit does with aggregates what a transaction does with them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aftercommit import AggregateStore
from aftercommit.testing import MemoryStore

from aftercommit_tests.builders import a_thing, a_thing_id
from aftercommit_tests.things.domain import Thing, ThingBroken, ThingMade, ThingPolished
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
    """Of none, of what was seen, and of what was made through it; what is stored was committed."""
    lamp, chair = a_thing("lamp"), a_thing("chair")
    lamp.new_parts = [chair, object()]
    store = MemoryStore({Thing: "id"}, lamp)

    [found] = store.load_all(Thing, lambda thing: thing.name == "lamp")
    found.polish()
    store.record(broken := ThingBroken(thing_id=a_thing_id()), subject="nobody")

    assert store.pull_events() == [
        broken,
        ThingPolished(thing_id=lamp.id, name="lamp"),
        ThingMade(thing_id=chair.id, name="chair"),
    ]
    assert store.pull_events() == []
