"""The repositories that have queries of their own. The adapters have the queries."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from aftercommit import AggregateStore, Repository

from allocation.domain.coupons import BatchReference, CouponBatch, CouponBatchNotFound
from allocation.domain.events import UserId
from allocation.domain.users import User, UserNotFound
from allocation.domain.values import EmailAddress


class Users(Repository[User, UserId], ABC):
    """The users, with a query of their own."""

    def __init__(self, store: AggregateStore) -> None:
        super().__init__(store, User, UserNotFound)

    @abstractmethod
    async def find_by_email(self, emails: Collection[EmailAddress]) -> Mapping[EmailAddress, User]:
        """Return the users who hold some of these addresses, however they are spelled."""


class CouponBatches(Repository[CouponBatch, BatchReference], ABC):
    """The coupon batches, with a query of their own.

    Nobody else can change one that is loaded until this unit of work ends: many want the same.
    """

    def __init__(self, store: AggregateStore) -> None:
        super().__init__(store, CouponBatch, CouponBatchNotFound)

    @abstractmethod
    async def next_available(self) -> CouponBatch:
        """Return the first batch, by reference, that has coupons left; else an exhausted one.

        Of the exhausted ones, it is one that has not been reported; else the one that was reported
        last.
        """
