"""Coupon batches and coupons: the aggregates, with their values and their errors."""

import re
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from allocation.domain import events
from allocation.domain.bases import Aggregate, InvalidValue, RuleViolation
from allocation.domain.values import Text

MAX_QUANTITY = 1_000_000_000
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
NO_CODE = "has characters other than A-Z, a-z, 0-9, - and _, or begins with - or _"

CouponState = Literal["allocated", "redeemed", "expired"]


class BatchReference(Text):
    """The name of a coupon batch. The code of each of its coupons begins with it."""

    what, longest, pattern, wrong = "reference", 40, CODE, NO_CODE


@dataclass(frozen=True, slots=True)
class CouponCode(Text):
    """The code that redeems a coupon. It is worth money, so no log, label or error quotes it."""

    value: str = field(repr=False)
    what, longest, pattern, wrong = "coupon code", 80, CODE, NO_CODE

    __str__ = object.__str__  # so that str() does not show the code


class Coupon(Aggregate):
    """The coupon of a user, who gets at most one. It is redeemed once, or it expires."""

    def __init__(self, user_id: events.UserId, code: CouponCode, batch: BatchReference) -> None:
        self.user_id = user_id
        self.code = code
        self.batch_reference = batch
        self.state: CouponState = "allocated"
        self.redemption_id: UUID | None = None
        self.version = 0

    @property
    def subject(self) -> str:
        """The id of the user. The code is a secret, and other services read subjects."""
        return str(self.user_id)

    def redeem(self, redemption_id: UUID) -> None:
        """Redeem the coupon, and record CouponRedeemed. Repeating a redemption changes nothing.

        :raises CouponAlreadyRedeemed: if it was redeemed by another redemption
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
        """Mark an allocated coupon as expired, and record CouponExpired."""
        if self.state == "allocated":
            self.state = "expired"
            user_id, batch = self.user_id, str(self.batch_reference)
            self.record(events.CouponExpired(user_id=user_id, batch_reference=batch))


class CouponBatch(Aggregate):
    """A limited quantity of coupons; `remaining` says how many are left."""

    def __init__(self, reference: BatchReference, quantity: int) -> None:
        if not 1 <= quantity <= MAX_QUANTITY:
            raise InvalidValue("quantity", f"{quantity} is not between 1 and {MAX_QUANTITY}")
        self.reference = reference
        self.quantity = self.remaining = quantity
        self.was_exhausted = False
        self.version = 0

    @property
    def subject(self) -> str:
        return str(self.reference)

    def ensure_same_quantity(self, quantity: int) -> None:
        """Refuse a repeated addition if its quantity differs from that of this batch."""
        if quantity != self.quantity:
            raise CouponBatchAlreadyAdded(self.reference, self.quantity)

    def allocate(self, user_id: events.UserId, *, token: str) -> Coupon:
        """Make a coupon for a user, and record CouponAllocated. `token` makes its code a secret.

        When the batch becomes empty for the first time, record CouponBatchExhausted. It is not
        recorded again, even if coupons are given back and the batch becomes empty once more.

        :raises CouponBatchIsEmpty: if no coupon is left
        """
        if self.remaining == 0:
            raise CouponBatchIsEmpty(self.reference)
        self.remaining -= 1
        batch, code = str(self.reference), f"{self.reference}-{token[:16]}"  # people type codes
        self.record(events.CouponAllocated(user_id=user_id, batch_reference=batch, code=code))
        if self.remaining == 0 and not self.was_exhausted:
            self.was_exhausted = True
            self.record(events.CouponBatchExhausted(batch_reference=batch))
        return Coupon(user_id, CouponCode(code), self.reference)

    def give_back(self) -> None:
        """Take an expired coupon back, so that another user can get one.

        :raises CouponBatchIsFull: if no coupon is missing
        """
        if self.remaining == self.quantity:
            raise CouponBatchIsFull(self.reference)
        self.remaining += 1


class CouponBatchNotFound(RuleViolation, says="there is no coupon batch {}"):
    """No coupon batch has this reference."""


class CouponBatchAlreadyAdded(RuleViolation, says="batch {} was already added with quantity {}"):
    """The reference was used before, for a batch with another quantity."""


class CouponBatchIsEmpty(RuleViolation, says="no coupon is left in coupon batch {}"):
    """The batch has no coupon left to allocate."""


class CouponBatchIsFull(RuleViolation, says="nothing is missing from coupon batch {}"):
    """A coupon was given back to a batch from which none is missing."""


class CouponAlreadyAllocated(RuleViolation, says="user {} has a coupon already"):
    """The user already has a coupon, and nobody gets a second one."""


class CouponNotFound(RuleViolation, says="there is no coupon with this code"):
    """No coupon has this code."""  # not quoted: it may be a real code with a typing error


class CouponAlreadyRedeemed(RuleViolation, says="the coupon was redeemed before"):
    """Another redemption has redeemed the coupon."""


class CouponIsExpired(RuleViolation, says="the coupon has expired"):
    """The coupon was not redeemed in time."""
