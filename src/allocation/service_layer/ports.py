"""The ports: what the service layer needs from the outside. Adapters and fakes implement them.

Unless said otherwise, every asynchronous method raises Unavailable when its resource cannot be
reached, and lets cancellation pass.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from allocation.domain.events import UserId


class RegistrationLog(Protocol):
    """The append-only log of registrations."""

    async def append(self, user_id: UserId, email: str) -> None:
        """Write one line; the database adds the time."""


class UserProjection(Protocol):
    """The read model: one row a user, with the coupon."""

    async def refresh(self, user_id: UserId) -> None:
        """Rewrite this user's row from the aggregates, so the order of events is no matter.

        It is done with the commit, and sees what else this unit of work has changed.
        """


FindContact = Callable[[UserId], Awaitable[str]]
"""A query, the address of a user: reads what is committed, and waits for no writer.

:raises UserNotFound: if there is no such user
"""

FindCouponHolder = Callable[[str], Awaitable[str | None]]
"""A query: the address of the user who can still redeem the coupon with this code, or None."""
