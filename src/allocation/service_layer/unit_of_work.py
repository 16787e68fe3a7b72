"""The unit of work: state, events and deliveries in one transaction, or none of them.

Source: *Architecture Patterns with Python*, chapter 6. Different from the book:

- Events leave only after the commit, so work that was rolled back never speaks.
- The message bus opens the unit of work and ends it. A handler says `await uow.commit()` as its
  last word; what that has written becomes final when the handler has returned. So a handler that
  fails after its commit, commits twice, or forgets to, has stored nothing: its work is still owed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from anyio import CancelScope

from allocation.domain.exceptions import Mistake
from allocation.domain.model import Aggregate
from allocation.service_layer import ports
from allocation.service_layer.delivery import Trigger
from allocation.service_layer.envelopes import Envelope, EnvelopeFactory
from allocation.service_layer.exceptions import NotCommitted, OpenedTwice, WorkAfterCommit
from allocation.service_layer.guard import Calls


class UnitOfWork(ABC):
    """One transaction, for one attempt to handle one message: `async with uow`, by the bus.

    It is committed when the block is left without an error, and rolled back otherwise, also when
    cancelled. Begin, commit and close are not interrupted: whether something was stored is always
    known afterwards, by `committed`. The same transaction settles the delivery in hand, or takes
    note of the command, so the effect of either happens exactly once.

    :raises MessageAlreadyHandled: at its begin, if that command was received and noted before
    :raises Mistake: at its end, if nobody has said `commit()`, or work went on after it
    """

    users: ports.Users
    coupon_batches: ports.CouponBatches
    registration_log: ports.RegistrationLog
    user_view: ports.UserView

    def __init__(self, envelope_factory: EnvelopeFactory, trigger: Trigger) -> None:
        self._envelope_factory, self._trigger = envelope_factory, trigger
        self._calls = Calls(lambda name: self._refuse(WorkAfterCommit(f"{name}() was called")))
        self._is_open = False
        self._written: tuple[Envelope, ...] | None = None
        self._mistake: Mistake | None = None
        self.committed = False
        self.events: tuple[Envelope, ...] = ()  # those that were committed; none before

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise self._refuse(OpenedTwice())
        self._is_open = True
        try:
            await self._begin()
        except BaseException:
            with CancelScope(shield=True):
                await self._close()
            raise
        for name in UnitOfWork.__annotations__:  # the repositories that are declared above
            setattr(self, name, self._calls.guarded(f"uow.{name}", getattr(self, name)))
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        self._calls.are_over = True
        with CancelScope(shield=True):
            try:
                if error is None:
                    written = self._whole()
                    await self._commit()
                    self.committed, self.events = True, written
            finally:
                await self._close()

    async def commit(self) -> None:
        """Say that the work is whole, and write it: the last thing a handler does.

        :raises Refused: if an address is another user's, or a user has a coupon already
        :raises ConcurrentUpdate: if what was read has changed meanwhile; a fresh unit may succeed
        :raises DeliverySuperseded: if the delivery in hand has another owner now
        :raises Mistake: if it was said before, or something that was begun has not come to its end
        """
        if self._calls.are_over:
            raise self._refuse(WorkAfterCommit("a second commit"))
        self._calls.end()
        events = tuple(self._envelope_factory.drain(self._seen(), self._trigger.as_context))
        await self._write(events)
        self._written = events

    def _refuse(self, mistake: Mistake) -> Mistake:
        """Return the error to raise; the unit is lost, also if it is swallowed."""
        self._mistake = mistake
        return mistake

    def _whole(self) -> tuple[Envelope, ...]:
        if self._mistake:
            raise self._mistake
        if self._written is None:
            raise NotCommitted
        if self._has_unwritten_work():
            raise WorkAfterCommit("an aggregate was changed")
        return self._written

    def _has_unwritten_work(self) -> bool:
        return any(aggregate.recorded_events for aggregate in self._seen())

    @abstractmethod
    def _seen(self) -> Iterable[Aggregate]:
        """Return the aggregates this unit of work has added or loaded."""

    @abstractmethod
    async def _begin(self) -> None:
        """Open a transaction and the repositories on it, and take note of a command."""

    @abstractmethod
    async def _write(self, events: Sequence[Envelope]) -> None:
        """Write state, events and deliveries, and settle the delivery in hand."""

    @abstractmethod
    async def _commit(self) -> None:
        """Commit what was written."""

    @abstractmethod
    async def _close(self) -> None:
        """Roll back what was not committed, and give all resources back."""


NewUnitOfWork = Callable[[Trigger], UnitOfWork]  # makes one for an attempt to handle a message
