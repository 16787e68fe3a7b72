"""Coupon batches and coupons: the aggregates, with their values and their errors."""

import re
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from allocation.domain import events
from allocation.domain.aggregate import Aggregate
from allocation.domain.error_kinds import InvalidValue, RuleViolation
from allocation.domain.events import UserId

MAX_QUANTITY = 1_000_000_000
TOKEN_LENGTH = 16  # digits: people type a code
MAX_SHOWN = 60  # characters shown of a refused value

CouponState = Literal["allocated", "redeemed", "expired"]

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


@dataclass(frozen=True, slots=True, order=True)
class BatchReference:
    """The name of a coupon batch, with which each of its codes begins."""

    value: str

    def __post_init__(self) -> None:
        if not _REFERENCE.fullmatch(self.value):
            rule = "1 to 40 of A-Z, a-z, 0-9, - and _, with no - or _ first"
            raise InvalidValue("reference", f"{self.value[:MAX_SHOWN]!r} is not {rule}")

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Quantity:
    """How many coupons a batch holds."""

    value: int

    def __post_init__(self) -> None:
        if not 1 <= self.value <= MAX_QUANTITY:
            raise InvalidValue("quantity", f"{self.value} is not between 1 and {MAX_QUANTITY}")


@dataclass(frozen=True, slots=True)
class CouponCode:
    """The code with which a coupon is redeemed. It is money: no log, label or error quotes it."""

    value: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.value):
            rule = "1 to 80 of A-Z, a-z, 0-9, - and _, with no - or _ first"
            raise InvalidValue("coupon code", f"is not {rule}")


class Coupon(Aggregate):
    """A user's coupon. A user has at most one; it is redeemed or expires, only once."""

    def __init__(self, user_id: UserId, code: CouponCode, batch_reference: BatchReference) -> None:
        self.user_id = user_id
        self.code = code
        self.batch_reference = batch_reference
        self.state: CouponState = "allocated"
        self.redemption_id: UUID | None = None
        self.version = 0

    @property
    def subject(self) -> str:
        """The user: the code is a secret, and other services read events."""
        return str(self.user_id)

    def redeem(self, redemption_id: UUID) -> None:
        """Use the coupon up, and record CouponRedeemed; the same redemption again changes nothing.

        :raises CouponAlreadyRedeemed: if another redemption has used it up
        :raises CouponIsExpired: if it was not redeemed in time
        """
        if self.redemption_id == redemption_id:
            return
        if self.state != "allocated":
            raise CouponAlreadyRedeemed if self.state == "redeemed" else CouponIsExpired
        self.state, self.redemption_id = "redeemed", redemption_id
        user_id, batch = self.user_id, str(self.batch_reference)
        self.record(
            events.CouponRedeemed(
                redemption_id=redemption_id, user_id=user_id, batch_reference=batch
            )
        )

    def expire(self) -> None:
        """Record CouponExpired, if it was neither redeemed nor has expired before."""
        if self.state == "allocated":
            self.state = "expired"
            user_id, batch = self.user_id, str(self.batch_reference)
            self.record(events.CouponExpired(user_id=user_id, batch_reference=batch))


class CouponBatch(Aggregate):
    """A limited quantity of coupons: never one too many is allocated."""

    def __init__(self, reference: BatchReference, quantity: int) -> None:
        self.reference = reference
        self.quantity = quantity
        self.remaining = quantity
        self.was_exhausted = False
        self.version = 0

    @classmethod
    def full(cls, reference: BatchReference, quantity: Quantity) -> "CouponBatch":
        """Make a new batch, of which nothing is allocated yet."""
        return cls(reference, quantity.value)

    @property
    def subject(self) -> str:
        return str(self.reference)

    def ensure_same_quantity(self, quantity: Quantity) -> None:
        """Accept a repeated addition, which changes nothing, but refuse another quantity."""
        if quantity.value != self.quantity:
            raise CouponBatchAlreadyAdded(self.reference, self.quantity)

    def allocate(self, user_id: UserId, *, token: str) -> Coupon:
        """Make the user's coupon, and record CouponAllocated; `token` makes its code hard to guess.

        When the last coupon goes for the first time, record CouponBatchExhausted. If a place that
        was given back is taken again, nothing more is recorded: nobody can do anything about it.

        :raises CouponBatchIsEmpty: if none is left
        """
        if self.remaining == 0:
            raise CouponBatchIsEmpty(self.reference)
        self.remaining -= 1
        batch, code = str(self.reference), f"{self.reference}-{token[:TOKEN_LENGTH]}"
        self.record(events.CouponAllocated(user_id=user_id, batch_reference=batch, code=code))
        if self.remaining == 0 and not self.was_exhausted:
            self.was_exhausted = True
            self.record(events.CouponBatchExhausted(batch_reference=batch))
        return Coupon(user_id, CouponCode(code), self.reference)

    def give_back(self) -> None:
        """Free the place of an expired coupon, so that another user can get one.

        :raises CouponBatchIsFull: if no place is missing, so there would be one too many
        """
        if self.remaining == self.quantity:
            raise CouponBatchIsFull(self.reference)
        self.remaining += 1


class CouponBatchNotFound(RuleViolation):
    """No coupon batch has this reference."""

    def __init__(self, reference: object) -> None:
        super().__init__(f"there is no coupon batch {reference}")


class CouponBatchAlreadyAdded(RuleViolation):
    """The reference was used before, for a batch with another quantity."""

    def __init__(self, reference: object, quantity: int) -> None:
        super().__init__(f"coupon batch {reference} was already added with quantity {quantity}")


class CouponBatchIsEmpty(RuleViolation):
    """A coupon was asked of a batch in which none is left."""

    def __init__(self, reference: object) -> None:
        super().__init__(f"no coupon is left in coupon batch {reference}")


class CouponBatchIsFull(RuleViolation):
    """A place was given back to a batch in which none is missing."""

    def __init__(self, reference: object) -> None:
        super().__init__(f"nothing is missing from coupon batch {reference}")


class CouponAlreadyAllocated(RuleViolation):
    """The user already has a coupon, and nobody gets a second one."""

    def __init__(self, user_id: object) -> None:
        super().__init__(f"user {user_id} has a coupon already")


class CouponNotFound(RuleViolation):
    """No coupon has this code."""

    def __init__(self, code: CouponCode) -> None:  # not quoted: it may be a real code, mistyped
        super().__init__("there is no coupon with this code")


class CouponAlreadyRedeemed(RuleViolation):
    """The coupon was used before, by another redemption."""

    def __init__(self) -> None:
        super().__init__("the coupon was redeemed before")


class CouponIsExpired(RuleViolation):
    """The coupon was not redeemed in time."""

    def __init__(self) -> None:
        super().__init__("the coupon has expired")
