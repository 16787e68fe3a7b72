"""One generic repository for every aggregate, in any database, and what an aggregate has to offer.

Source: *Architecture Patterns with Python*, chapter 2.
"""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeGuard, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Aggregate(Protocol):
    """What an aggregate has to offer: its recorded events, their subject, and its parts.

    The events of a commit are ordered aggregate by aggregate, each in the order of recording. If
    one key orders events of several aggregates, `record` can number them with a common counter, in
    `recorded_numbers`. Entities, or other aggregates, that were created through an aggregate and
    are stored with it are in its `new_parts`.
    """

    version: int

    @property
    def subject(self) -> str:
        """What its events are about, for other services."""

    def pull_events(self) -> Sequence[object]:
        """Return the recorded events, and forget them."""


A = TypeVar("A", bound=Aggregate)


def is_aggregate(entity: object) -> TypeGuard[Aggregate]:
    """Tell aggregates by one attribute: checking a whole protocol is slow, and calls properties."""
    return hasattr(type(entity), "pull_events")


class AggregateStore(Protocol):
    """Where the aggregates of one transaction are loaded and stored.

    It keeps every aggregate that was added or loaded in `seen` until the transaction ends. So the
    events of an aggregate are stored even if nothing else refers to it.

    >>> from aftercommit import AggregateStore, Repository
    >>> from shop.domain.orders import Order, OrderNotFound
    >>> class UnitOfWork:
    ...     def __init__(self, store: AggregateStore) -> None:
    ...         self.orders = Repository(store, Order, OrderNotFound)
    """

    seen: list[object]

    def add(self, entity: object) -> None:
        """Add a new object, to be stored with the commit."""

    def record(self, event: object, *, subject: object) -> None:
        """Store an event without an aggregate, with the commit; `subject` is what it is about."""

    async def get(self, entity: type[T], key: object) -> T | None:
        """Return the object with this key, or None."""


class Repository(Generic[A, K]):
    """The aggregates of one type; their changes are stored with the commit.

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
        """Add a new aggregate, to be stored with the commit."""
        self._store.add(aggregate)

    async def find(self, key: K) -> A | None:
        """Return the aggregate with this key, or None."""
        return await self._store.get(self.aggregate, key)

    async def get(self, key: K) -> A:
        """Return the aggregate with this key, or raise the error that there is none."""
        if aggregate := await self.find(key):
            return aggregate
        raise self._missing(key)
