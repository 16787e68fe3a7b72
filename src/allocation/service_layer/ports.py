"""The ports: what the service layer needs from the outside. Adapters and fakes implement them.

Unless stated otherwise, every asynchronous method raises Unavailable when its resource is
unreachable, and can be cancelled. The kinds of errors are those of `aftercommit.errors`.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

from aftercommit import AggregateStore, IdempotencyKey, Refused, Repository

from allocation.domain.coupons import BatchReference, CouponBatch, CouponBatchNotFound
from allocation.domain.events import UserId
from allocation.domain.users import User, UserNotFound
from allocation.domain.values import EmailAddress
from allocation.service_layer.emails import Email


class Users(Repository[User, UserId], ABC):
    """The users, with a query of their own."""

    def __init__(self, store: AggregateStore) -> None:
        super().__init__(store, User, UserNotFound)

    @abstractmethod
    async def find_by_email(self, emails: Collection[EmailAddress]) -> Mapping[EmailAddress, User]:
        """Return the users who have one of these addresses, in whatever spelling."""


class CouponBatches(Repository[CouponBatch, BatchReference]):
    """The coupon batches. Loading one locks it, because many handlers change the same one."""

    def __init__(self, store: AggregateStore) -> None:
        super().__init__(store, CouponBatch, CouponBatchNotFound, locked=True)

    async def next_available(self) -> CouponBatch | None:
        """Return the first batch, by reference, that has coupons left; None if there is none."""
        return await self.first(
            lambda batch: batch.remaining > 0, order_by=lambda batch: batch.reference
        )


class RegistrationLog(Protocol):
    """The append-only log of registrations."""

    async def append(self, user_id: UserId, email: str) -> None:
        """Write one line; the database adds the time."""


class UserProjection(Protocol):
    """The read model: one row for each user, with the coupon."""

    async def refresh(self, *user_ids: UserId) -> None:
        """Rewrite the rows of users from the aggregates, as this unit of work sees them.

        So the order of events does not matter.
        """


class NoSuchAddress(Refused):
    """Nothing can ever be sent to the address of this e-mail."""


class EmailSender(Protocol):
    """Sends e-mails."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Pass the e-mail to a mail server. A repetition carries the same key.

        :raises Unavailable: only if the server is down; the delivery is retried until it is up
        :raises NoSuchAddress: if the server replies that there is no such address
        :raises Refused: if the server will never accept the e-mail; its delivery is parked
        :raises Exception: if anything else went wrong; the delivery is retried, and finally parked
        """


FindContact = Callable[[UserId], Awaitable[str | None]]
"""A query for the address of a user, or None if that address is known not to exist.

It reads what is committed, and waits for no writer.

:raises UserNotFound: if there is no such user
"""

FindCouponHolder = Callable[[str], Awaitable[str | None]]
"""A query for the address of the user who can redeem this coupon, or None if nobody can."""
