"""One generic repository for every aggregate, in any database, and what it asks of an aggregate.

Source: *Architecture Patterns with Python*, chapter 2.
"""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeGuard, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Aggregate(Protocol):
    """What is asked of an aggregate: what has happened, about what, and what is stored with it.

    The events of a commit come aggregate by aggregate, each in its order. If one key orders those
    of several, `record` can number them, by a counter that all share, in `recorded_numbers`. What
    was made through an aggregate and is stored with it, entities and also other aggregates, is in
    its `new_parts`, if it has any.
    """

    version: int

    @property
    def subject(self) -> str:
        """What its events are about, to other services."""

    def pull_events(self) -> Sequence[object]:
        """Hand over the recorded events, once."""


A = TypeVar("A", bound=Aggregate)


def is_aggregate(entity: object) -> TypeGuard[Aggregate]:
    """Tell aggregates by one attribute: to look at all of a protocol takes long, and calls them."""
    return hasattr(type(entity), "pull_events")


class AggregateStore(Protocol):
    """Where the aggregates of one transaction come from and go to.

    It holds each one that was added or loaded, in `seen`, until the transaction ends. So an event
    that one of them has recorded is stored, even if nothing else refers to the aggregate.

    >>> from aftercommit import AggregateStore, Repository
    >>> from shop.domain.orders import Order, OrderNotFound
    >>> class UnitOfWork:
    ...     def __init__(self, store: AggregateStore) -> None:
    ...         self.orders = Repository(store, Order, OrderNotFound)
    """

    seen: list[object]

    def add(self, entity: object) -> None:
        """Store a new object with the commit."""

    def record(self, event: object, *, subject: object) -> None:
        """Store an event that no aggregate has, with the commit; `subject` is what it is about."""

    async def get(self, entity: type[T], key: object) -> T | None:
        """Return the object with this key, or None."""


class Repository(Generic[A, K]):
    """The aggregates of one type: what is changed in them is stored with the commit.

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         async with testing.unit_of_work(application) as uow:  # handlers are given one
    ...             return await uow.orders.find(uuid.uuid4())
    >>> anyio.run(main)
    """

    def __init__(
        self, store: AggregateStore, aggregate: type[A], missing: Callable[[K], Exception]
    ) -> None:
        self._store, self.aggregate, self._missing = store, aggregate, missing

    def add(self, aggregate: A) -> None:
        """Store a new aggregate with the commit."""
        self._store.add(aggregate)

    async def find(self, key: K) -> A | None:
        """Return the aggregate with this key, or None."""
        return await self._store.get(self.aggregate, key)

    async def get(self, key: K) -> A:
        """Return the aggregate with this key, or raise the error that says there is none."""
        if aggregate := await self.find(key):
            return aggregate
        raise self._missing(key)
