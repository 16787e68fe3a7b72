"""The unit of work: state, events and deliveries in one transaction, or none of them.

Source: *Architecture Patterns with Python*, chapter 6. Different from the book: events are drained
inside `commit()` and handed out only after it succeeded, so work that was rolled back never speaks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

from anyio import CancelScope

from allocation.domain.events import Event
from allocation.domain.model import Aggregate
from allocation.service_layer.delivery import (
    Cause,
    Delivery,
    Envelope,
    EventId,
    ReceivedMessage,
)
from allocation.service_layer.ports import CouponBatches, RegistrationLog, Users, UserView

Subscriptions = Mapping[type[Event], Sequence[str]]
Occasion = Delivery | ReceivedMessage | None  # what makes a repetition of a message recognizable


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What every unit of work needs to turn a recorded event into an envelope and deliveries."""

    subscriptions: Subscriptions
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]

    def subscribers(self, envelope: Envelope) -> Sequence[str]:
        """Return the names of the handlers that owe work to this event."""
        return self.subscriptions.get(type(envelope.event), ())


class UnitOfWork(ABC):
    """One transaction, for one attempt to handle one message.

        async with uow:
            ...
            await uow.commit()

    Leaving without a commit rolls back, also when cancelled. Commit, rollback and close cannot be
    interrupted: whether something was stored is always known afterwards, by `committed`.

    If the message is a delivery, the commit also settles it: its row goes in the same transaction,
    so the effect happens exactly once. If it was received from outside, the same transaction takes
    note of it, for the same reason.
    """

    users: Users
    coupon_batches: CouponBatches
    registration_log: RegistrationLog
    user_view: UserView

    def __init__(self, recording: Recording, cause: Cause, occasion: Occasion) -> None:
        self._recording = recording
        self._cause = cause
        self._delivery = occasion if isinstance(occasion, Delivery) else None
        self._received = occasion if isinstance(occasion, ReceivedMessage) else None
        self.committed = False
        self.events: tuple[Envelope, ...] = ()

    async def __aenter__(self) -> Self:
        """Open the transaction.

        :raises MessageAlreadyHandled: if the message was received before, and its command stored
        :raises Unavailable: if the database cannot be reached
        """
        try:
            await self._begin()
        except BaseException:
            with CancelScope(shield=True):
                await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with CancelScope(shield=True):
            await self._close()

    async def commit(self) -> None:
        """Store everything, or nothing. Afterwards `committed` is true and `events` can be read.

        :raises EmailAlreadyRegistered: if another user holds an address
        :raises ConcurrentUpdate: if what was read has changed meanwhile; a fresh unit may succeed
        :raises DeliverySuperseded: if the delivery in hand has another owner now
        :raises Unavailable: if the database cannot be reached
        """
        events = tuple(self._envelopes())
        with CancelScope(shield=True):
            await self._commit(events)
        self.committed = True
        self.events = events

    def _envelopes(self) -> Iterable[Envelope]:
        for aggregate in self._seen():
            for event in aggregate.drain_events():
                yield Envelope(
                    id=EventId(self._recording.new_id()),
                    event=event,
                    subject=aggregate.subject,
                    time=self._recording.now(),
                    cause=self._cause,
                )

    @abstractmethod
    def _seen(self) -> Iterable[Aggregate]:
        """Return the aggregates this unit of work has added or loaded."""

    @abstractmethod
    async def _begin(self) -> None:
        """Open a transaction and the repositories on it, and take note of a received message.

        :raises MessageAlreadyHandled: if that has been noted before
        """

    @abstractmethod
    async def _commit(self, events: Sequence[Envelope]) -> None:
        """Store state, events and deliveries, settle the delivery in hand, and commit."""

    @abstractmethod
    async def _close(self) -> None:
        """Roll back what was not committed, and give all resources back."""


NewUnitOfWork = Callable[[Cause, Occasion], UnitOfWork]
