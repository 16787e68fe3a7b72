"""The ports: what the service layer needs from the outside. Adapters and fakes implement them.

Unless said otherwise, every asynchronous method raises Unavailable when its resource cannot be
reached, and lets cancellation pass.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from allocation.domain.events import UserId
from allocation.domain.model import CouponBatch, User
from allocation.domain.values import BatchReference
from allocation.service_layer.delivery import Delivery, Failure, IdempotencyKey
from allocation.service_layer.emails import Email
from allocation.service_layer.envelopes import Envelope


class StoredUsers(Protocol):
    """The users, to look at."""

    async def find(self, user_id: UserId) -> User | None:
        """Return the user with this id, or None."""

    async def get(self, user_id: UserId) -> User:
        """Return the user with this id, or raise UserNotFound."""


class Users(StoredUsers, Protocol):
    """The users of one unit of work: what is changed in them is stored with the commit."""

    def add(self, user: User) -> None:
        """Store a new user with the commit."""


class CouponBatches(Protocol):
    """The coupon batches of one unit of work."""

    def add(self, batch: CouponBatch) -> None:
        """Store a new batch with the commit."""

    async def find(self, reference: BatchReference) -> CouponBatch | None:
        """Return the batch with this reference, or None."""

    async def next_available(self) -> CouponBatch:
        """Return the first batch, by reference, that has coupons left; else an exhausted one.

        Nobody else can allocate from it until this unit of work ends. Of the exhausted ones it is
        one that nobody was told of; else the one that was reported last.
        """


class RegistrationLog(Protocol):
    """The append-only log of registrations."""

    async def append(self, user_id: UserId, email: str) -> None:
        """Write one line; the database adds the time."""


class UserView(Protocol):
    """The read model: one row a user, with the coupon."""

    async def refresh(self, user_id: UserId) -> None:
        """Write this user's row anew from the aggregates, so the order of events is no matter.

        It is done with the commit, and sees what else this unit of work has changed.
        """


class Stored(Protocol):
    """What is stored, seen in one reading transaction."""

    users: StoredUsers


Reading = Callable[[], AbstractAsyncContextManager[Stored]]
"""Opens a reading transaction, which waits for no writer.

:raises ChangedWhileReading: at its end, if an aggregate was changed: that would be lost
"""


class Notifications(Protocol):
    """E-mail."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Hand the e-mail to a mail server. A repetition carries the same key.

        :raises Exception: whatever went wrong; the delivery is tried again
        """


class Publisher(Protocol):
    """One message broker, on the sending side."""

    async def publish(self, envelope: Envelope) -> None:
        """Return when the broker has confirmed the event. That nobody listens is no failure."""


class Outbox(Protocol):
    """The stored deliveries.

    Each write names a claim, and changes nothing if somebody else has claimed the delivery since:
    then that is the one to say what becomes of it.
    """

    async def settle(self, delivery: Delivery) -> None:
        """Mark a delivery as done whose handler has no transaction of its own."""

    async def record_failure(self, failure: Failure) -> None:
        """Store the error, and when the delivery is due again; parked, it waits for a person.

        Of the failures of one delivery, the last ten are kept.

        :raises DeliverySuperseded: if the delivery has another owner now, or is done
        """

    async def release(self, delivery: Delivery) -> None:
        """Make a delivery in hand due at once, as if this attempt had not been made."""

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Delivery]:
        """Take a lease on up to `limit` due deliveries to these handlers, longest due first.

        What is replayed is taken only if nothing else is due. What only a newer process can read
        is left to it. What was due but can never be handled is parked on the way.
        """

    async def seconds_until_due(self, handlers: Collection[str]) -> float | None:
        """Return the seconds until the next delivery that `claim` would take; None if none is."""
