"""The unit of work: state, events and deliveries in one transaction, or none of them.

Source: *Architecture Patterns with Python*, chapter 6. Different from the book:

- The message bus opens the unit of work, and commits it when the handler has returned. Returned
  means done, raised means not done: there is no `commit()` to forget, or to work on after.
- Events leave only after the commit, so work that was rolled back never speaks.
- One generic repository serves every aggregate (chapter 2), in any database.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

from aftercommit.claims import Committed, WorkItem
from aftercommit.envelope_factory import EnvelopeFactory

MAX_DEPTH = 100  # events that may cause each other in a row: more are taken for a cycle

K = TypeVar("K")
T = TypeVar("T")


class Recorder(Protocol):
    """What is asked of an aggregate: what has happened, about what, and what is stored with it.

    The events of a commit come aggregate by aggregate, each in its order. If one key orders those
    of several, `record` can number them, by a counter that all share, in `recorded_numbers`.
    """

    version: int

    @property
    def subject(self) -> str:
        """What its events are about, to other services."""

    @property
    def new_parts(self) -> Iterable[object]:
        """What was made through it and is stored with it: entities, also other aggregates."""

    def pull_events(self) -> Sequence[object]:
        """Hand over the recorded events, once."""


A = TypeVar("A", bound=Recorder)


def is_recorder(entity: object) -> TypeGuard[Recorder]:
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


class UnitOfWorkScope(Protocol):
    """One transaction, for one attempt to handle one message: rolled back, if not committed.

    The same transaction settles the delivery, or records the command, so the effect of either
    happens exactly once. A command from outside that came without an id, and changed nothing, is
    not recorded. One that a handler has returned is always recorded: it settles a delivery.

    There is one implementation, in `sql/unit_of_work.py`. This protocol is what an attempt needs of
    it: so what is decided about attempts is read, and imported, without SQLAlchemy.
    """

    @property
    def uow(self) -> Any:
        """What the handler is given: the unit of work of the application."""

    async def commit(self, envelopes: EnvelopeFactory) -> Committed:
        """Commit what a handler has done. Nothing interrupts a commit, so the answer is reliable.

        :raises Exception: if a rule is violated that only the database can check; also an error of
            the database that a handler has swallowed
        :raises ConcurrentUpdate: if what was read has changed; a fresh attempt may succeed
        :raises DeliverySuperseded: if the delivery has another owner now
        :raises CausationTooDeep: if it has recorded an event, and `MAX_DEPTH` of them led to it
        """


UnitOfWorkFactory = Callable[[WorkItem], AbstractAsyncContextManager[UnitOfWorkScope]]
"""Opens a transaction for each attempt, and closes it, whatever happens.

:raises MessageAlreadyHandled: if the command was received and stored before
"""
