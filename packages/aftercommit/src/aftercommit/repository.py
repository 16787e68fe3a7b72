"""One generic repository for every aggregate, in any database, and what an aggregate has to offer.

Source: *Architecture Patterns with Python*, chapter 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dis import get_instructions
from functools import cache
from types import CodeType
from typing import Generic, Protocol, TypeAlias, TypeGuard, TypeVar

K = TypeVar("K")
T = TypeVar("T")
Attribute: TypeAlias = Callable[[T], object]
"""A function of an aggregate, or in SQL of its class: a condition, or a key of an order."""


class Aggregate(Protocol):
    """What an aggregate has to offer: its recorded events, and their subject.

    The events of a commit are ordered aggregate by aggregate, each in the order of recording. If
    one key orders events of several aggregates, `record` can number them with a common counter, in
    `recorded_numbers`. A handler adds a new aggregate to its repository, even if another aggregate
    has made it.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Generic[T]):
    """A query that a store answers, in SQL or in memory: see `Repository.matching`."""

    where: Attribute[T]
    order_by: Attribute[T] | None
    limit: int | None
    locked: bool

    def __post_init__(self) -> None:
        for each in (self.where, self.order_by):
            if code := getattr(each, "__code__", None):
                _ensure_no_branches(code)


@cache
def _ensure_no_branches(code: CodeType) -> None:
    """Refuse what Python would decide by the truth of a column, so that SQL would lose a part."""
    used = {each.opname for each in get_instructions(code)}
    if used & {"CONTAINS_OP", "IS_OP", "UNARY_NOT"} or any("JUMP" in each for each in used):
        where = f"{code.co_filename}:{code.co_firstlineno}"
        raise TypeError(
            f"the query at {where} becomes SQL: write (…) & (…) for and, (…) | (…) for or,"
            " comparisons for not, in and is, and no if"
        )


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

    async def get(self, entity: type[T], key: object, *, locked: bool = False) -> T | None:
        """Return the object with this key, or None."""

    async def matching(self, entity: type[T], query: Query[T]) -> Sequence[T]:
        """Return the objects that a query finds."""


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
        self,
        store: AggregateStore,
        aggregate: type[A],
        missing: Callable[[K], Exception],
        *,
        locked: bool = False,
    ) -> None:
        """Take the error of a `missing` aggregate.

        What is loaded `locked` is changed by nobody else until the unit of work ends. So of many
        who want the same aggregate, each waits, and none loses a race.
        """
        self._store, self.aggregate, self._missing = store, aggregate, missing
        self._locked = locked

    def add(self, aggregate: A) -> None:
        """Add a new aggregate, to be stored with the commit."""
        self._store.add(aggregate)

    async def find(self, key: K) -> A | None:
        """Return the aggregate with this key, or None."""
        return await self._store.get(self.aggregate, key, locked=self._locked)

    async def get(self, key: K) -> A:
        """Return the aggregate with this key, or raise the error that there is none."""
        if aggregate := await self.find(key):
            return aggregate
        raise self._missing(key)

    async def matching(
        self,
        where: Attribute[A],
        *,
        order_by: Attribute[A] | None = None,
        limit: int | None = None,
    ) -> Sequence[A]:
        """Return the aggregates for which `where` is true, with the changes of this unit of work.

        A database is asked in SQL: both functions are given the class, whose attributes are
        columns. `MemoryStore` gives them each aggregate. So they are made of comparisons, sums and
        the like, joined by `&` and `|`; for several keys, `order_by` returns a tuple.

        Python and the database have to agree. Value objects need an order of their own,
        `dataclass(order=True)`, and PostgreSQL sorts text as the column's collation says: only
        `COLLATE "C"` is Python's order. What the class has no attribute for, such as a column that
        only the table has, needs a method with SQL in an adapter.

        Of `locked` aggregates, those that no longer match under the lock are left out. If none is
        left, it looks again.

        :raises TypeError: if a function uses `and`, `or`, `not`, `in`, `is` or `if`

        >>> from uuid import UUID
        >>> from aftercommit import Repository
        >>> from shop.domain.orders import Order
        >>> class Orders(Repository[Order, UUID]):
        ...     async def of(self, email: str):
        ...         return await self.matching(lambda order: order.email == email, limit=10)
        """
        query = Query(where=where, order_by=order_by, limit=limit, locked=self._locked)
        return await self._store.matching(self.aggregate, query)

    async def first(self, where: Attribute[A], *, order_by: Attribute[A]) -> A | None:
        """Return the first aggregate for which `where` is true, or None: see `matching`."""
        return next(iter(await self.matching(where, order_by=order_by, limit=1)), None)
