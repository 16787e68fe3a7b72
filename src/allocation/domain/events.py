"""The events: facts, in the past tense. Anybody may import this module.

An event has any number of handlers and cannot be refused. Fields are plain values, because events
are stored and published: other services rely on their shape.
"""

from dataclasses import dataclass, field
from typing import NewType
from uuid import UUID

UserId = NewType("UserId", UUID)


class Event:
    """Base of all events."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRegistered(Event):
    """A user was registered."""

    user_id: UserId
    name: str
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailChanged(Event):
    """A user now has another e-mail address."""

    user_id: UserId
    old_email: str
    new_email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailBounced(Event):
    """A user's address does not exist: coupons are not sent to it."""

    user_id: UserId
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponAllocated(Event):
    """A user got a coupon of a batch."""

    user_id: UserId
    batch_reference: str
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponRedeemed(Event):
    """A user has redeemed a coupon."""

    redemption_id: UUID
    user_id: UserId
    batch_reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponExpired(Event):
    """A coupon was not redeemed in time: its batch takes it back."""

    user_id: UserId
    batch_reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponDenied(Event):
    """A user should have got a coupon, but none was left."""

    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponBatchExhausted(Event):
    """The last coupon of a batch was allocated, for the first time."""

    batch_reference: str
