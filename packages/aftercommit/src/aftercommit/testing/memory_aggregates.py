"""Aggregates in memory, with which a unit test calls a handler without a database."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from aftercommit.repository import Query, is_aggregate

T = TypeVar("T")


class MemoryStore:
    """An `AggregateStore` without a database, for tests that call a handler directly.

    It finds the objects given to it, which count as stored, including the events they have
    recorded. `keys` names the key attribute of a type, if it is not `id`. `seen` lists what the
    handler has loaded or added: look there for a new aggregate. As in a transaction, a new object
    is found when it was written: after a query, or by the next store.

    It does not imitate what only a database does, such as constraints, conflicts, a rollback, or
    what the unit of work does before the commit. Test these on a database: see `sqlite_url`.

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop.domain.orders import Order, OrderNotFound
    >>> from aftercommit import Repository
    >>> order = Order.place(uuid.uuid4(), "ivan@example.com", {"lamp": 2})
    >>> orders = Repository(testing.MemoryStore({Order: "id"}, order), Order, OrderNotFound)
    >>> anyio.run(orders.get, order.id) is order
    True
    """

    def __init__(self, keys: Mapping[type, str], *stored: object) -> None:
        self.seen: list[object] = []
        self._recorded = list[Any]()
        self._keys, self._stored = keys, stored
        for each in filter(is_aggregate, stored):
            each.pull_events()

    def add(self, entity: object) -> None:
        """Add a new object to `seen`."""
        self.seen.append(entity)

    def record(self, event: object, *, subject: object) -> None:
        """Keep an event without an aggregate; `pull_events` returns it."""
        self._recorded.append(event)

    async def get(self, entity: type[T], key: object, *, locked: bool = False) -> T | None:
        """Return the object with this key, or None."""
        attribute = self._keys.get(entity, "id")
        return next(iter(self.load_all(entity, lambda it: getattr(it, attribute) == key)), None)

    async def matching(self, entity: type[T], query: Query[T]) -> Sequence[T]:
        """Return the objects that a query finds: see `Repository.matching`."""
        known = {id(it) for it in self._stored}
        self._stored = (*self._stored, *(it for it in self.seen if id(it) not in known))
        found = [it for it in self._stored if isinstance(it, entity) and query.where(it)]
        if query.order_by:
            found.sort(key=cast("Callable[[T], Any]", query.order_by))
        self.seen += found[: query.limit]
        return found[: query.limit]

    def load_all(self, entity: type[T], matches: Callable[[T], bool]) -> list[T]:
        """Return the matching objects of a type, for a query that only an adapter can declare."""
        found = [it for it in self._stored if isinstance(it, entity) and matches(it)]
        self.seen += found
        return found

    def pull_events(self) -> list[Any]:
        """Return the events that a commit would store, of the seen objects."""
        recorded, self._recorded = self._recorded, []
        seen = filter(is_aggregate, self.seen)
        return recorded + [event for each in seen for event in each.pull_events()]
