"""The events: facts, in the past tense. Anybody may import this module.

An event has any number of handlers and cannot be refused. Fields are plain values, because events
are stored and published: their shape is a language others read.
"""

from dataclasses import dataclass
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
    """A user has another e-mail address now."""

    user_id: UserId
    old_email: str
    new_email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponAllocated(Event):
    """A coupon out of a batch belongs to a user now."""

    user_id: UserId
    batch_reference: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfCoupons(Event):
    """A user should have been given a coupon, but none was left."""

    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponsRanOut(Event):
    """Users go without coupons since this batch is used up: once a batch, then once a day."""

    batch_reference: str
