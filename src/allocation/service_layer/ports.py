"""The ports: what the service layer needs from the outside. Adapters and fakes implement them.

Unless stated otherwise, every asynchronous method raises Unavailable when its resource is
unreachable, and can be cancelled. The kinds of errors are those of `aftercommit.errors`.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

from aftercommit import AggregateStore, IdempotencyKey, Repository

from allocation.domain.commands import RecordBounce
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
        """Return the users who have some of these addresses, in whatever spelling."""


class CouponBatches(Repository[CouponBatch, BatchReference]):
    """The coupon batches: locked when they are loaded, because many want the same one."""

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
        """Rewrite the rows of users from the aggregates, with what this unit of work has changed.

        So the order of events does not matter.
        """


class EmailSender(Protocol):
    """E-mail."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Pass the e-mail to a mail server. A repetition carries the same key.

        :raises Unavailable: only if the server is down: then it is retried until the server is back
        :raises Refused: if the server will never accept the e-mail, for example without such an
            address
        :raises Exception: if anything else went wrong; the delivery is retried, and finally parked
        """


class UserMailer(Protocol):
    """E-mail to users, and what a mail server replies.

    A handler has to *return* what `send` returns: `await user_mail.send(…)` alone would lose the
    reply. So it is annotated with `RecordBounce | None`: `checks/test_wiring.py` checks that, and
    mypy checks the `return`.
    """

    async def send(
        self, email: Email, user_id: UserId, idempotency_key: IdempotencyKey
    ) -> RecordBounce | None:
        """Send an e-mail; if there is no such address, return what the handler has to return.

        If that is already known, or obvious from the address, nothing is sent. For errors, see
        `EmailSender`.
        """


FindContact = Callable[[UserId], Awaitable[str]]
"""A query for the address of a user: reads what is committed, and waits for no writer.

:raises UserNotFound: if there is no such user
"""

FindCouponHolder = Callable[[str], Awaitable[str | None]]
"""A query: the address of the user who can still redeem the coupon with this code, or None."""

IsUndeliverable = Callable[[str], Awaitable[bool]]
"""A query: tell whether a user has this e-mail address, and whether it is known not to exist."""
