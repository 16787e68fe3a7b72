"""The unit of work: state, events and deliveries in one transaction, or none of them.

Source: *Architecture Patterns with Python*, chapter 6. Different from the book:

- The message bus opens the unit of work, and commits it when the handler has returned. Returned
  means done, raised means not done: there is no `commit()` to forget, or to work on after.
- Events leave only after the commit, so work that was rolled back never speaks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from anyio import CancelScope

from allocation.domain.aggregate import Aggregate
from allocation.domain.coupons import Coupon, CouponNotFound
from allocation.service_layer import ports, repository
from allocation.service_layer.deliveries import Committed, Delivery, WorkItem
from allocation.service_layer.envelopes import Envelope, EventRecorder
from allocation.service_layer.exceptions import CausationTooDeep

MAX_DEPTH = 100  # events that may cause each other in a row: more are taken for a cycle


class UnitOfWork:
    """What a handler may change. A new aggregate needs one line here, and its table."""

    def __init__(
        self,
        store: repository.AggregateStore,
        *,
        users: repository.Users,
        coupon_batches: repository.CouponBatches,
        registration_log: ports.RegistrationLog,
        user_view: ports.UserProjection,
    ) -> None:
        self.users = users
        self.user_imports = repository.UserImports(store)
        self.coupon_batches = coupon_batches
        self.coupons = repository.Repository(store, Coupon, CouponNotFound)
        self.registration_log = registration_log
        self.user_view = user_view


class UnitOfWorkScope(ABC):
    """One transaction, for one attempt to handle one message: `async with`, by the bus.

    It yields the unit of work, is committed when the block ends without an error, and is rolled
    back otherwise, also when cancelled. The same transaction settles the delivery, or records the
    command, so the effect of either happens exactly once; a command that changed nothing, and that
    no id could recognize, leaves nothing. Nothing interrupts a commit, so `committed` is reliable.

    :raises MessageAlreadyHandled: at its begin, if that command was received and stored before
    :raises RuleViolation: at its end, if a rule is violated that only the database can check
    :raises ConcurrentUpdate: if what was read has changed meanwhile; a fresh attempt may succeed
    :raises DeliverySuperseded: if the delivery has another owner now
    :raises CausationTooDeep: if it has recorded an event, and `MAX_DEPTH` of them led to it
    """

    def __init__(self, event_recorder: EventRecorder, work: WorkItem) -> None:
        self._event_recorder, self._work = event_recorder, work
        self.committed = Committed()  # empty until the commit

    async def __aenter__(self) -> UnitOfWork:
        try:
            self._store = await self._begin()
            return self._unit_of_work()
        except BaseException:
            await self._end()
            raise

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if error is None:
                await self._write_and_commit()
        finally:
            await self._end()

    async def _write_and_commit(self) -> None:
        context = self._work.context
        events = tuple(self._event_recorder.collect(self._aggregates(), context))
        if events and context.depth > MAX_DEPTH:
            before = [d.envelope.context.handler for d in (self._work.settles,) if d]
            raise CausationTooDeep(context.depth, [*before, self._work.name])
        claims = await self._write(events)
        with CancelScope(shield=True):  # nor is there a checkpoint between this and the caller
            await self._commit()
        self.committed = Committed(events, tuple(claims))

    def _aggregates(self) -> list[Aggregate]:
        """Return the aggregates that this transaction has seen, also through another one."""
        found = []
        for aggregate in self._store.seen:  # it grows on the way
            if isinstance(aggregate, Aggregate):
                found.append(aggregate)
                for part in aggregate.new_parts:
                    self._store.add(part)
        return found

    async def _end(self) -> None:
        with CancelScope(shield=True):
            await self._close()

    @abstractmethod
    async def _begin(self) -> repository.AggregateStore:
        """Open a transaction, and record the command in it."""

    @abstractmethod
    def _unit_of_work(self) -> UnitOfWork:
        """Return what the handler is given."""

    @abstractmethod
    async def _write(self, events: Sequence[Envelope]) -> Sequence[Delivery]:
        """Write state, events and deliveries, and settle the delivery; return the new claims."""

    @abstractmethod
    async def _commit(self) -> None:
        """Commit what was written; raise the error of the database that a handler has swallowed."""

    @abstractmethod
    async def _close(self) -> None:
        """Roll back what was not committed, and give all resources back."""


UnitOfWorkFactory = Callable[[WorkItem], UnitOfWorkScope]  # for each attempt, a fresh one
