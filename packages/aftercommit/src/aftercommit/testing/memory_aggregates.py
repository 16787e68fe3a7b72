"""Aggregates in memory, with which a unit test calls a handler without a database."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aftercommit.repository import is_aggregate

T = TypeVar("T")


class MemoryStore:
    """An `AggregateStore` without a database, for tests that call a handler directly.

    It finds the objects given to it, which count as stored, including the events they have
    recorded. `keys` names the key attribute of a type, if it is not `id`. `seen` lists what the
    handler has loaded or added: look there for a new aggregate. As in a transaction, a new object
    is found only after the commit, by the next store.

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

    async def get(self, entity: type[T], key: object) -> T | None:
        """Return the object with this key, or None."""
        attribute = self._keys.get(entity, "id")
        return next(iter(self.load_all(entity, lambda it: getattr(it, attribute) == key)), None)

    def load_all(self, entity: type[T], matches: Callable[[T], bool]) -> list[T]:
        """Return the matching objects of a type, as a repository's query would."""
        found = [it for it in self._stored if isinstance(it, entity) and matches(it)]
        self.seen += found
        return found

    def pull_events(self) -> list[Any]:
        """Return the events that a commit would store, of the seen objects and their new parts."""
        parts = [
            part for it in filter(is_aggregate, self.seen) for part in getattr(it, "new_parts", ())
        ]
        whole = filter(is_aggregate, [*self.seen, *parts])
        recorded, self._recorded = self._recorded, []
        return recorded + [event for each in whole for event in each.pull_events()]
