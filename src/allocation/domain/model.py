"""The domain model: users and coupon batches. Imports the standard library only.

Each object enforces its own rules, so none can exist in a wrong state. Nothing here reads a clock,
draws a random number or does I/O: what the model needs comes in as arguments.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date
from typing import NewType

from allocation.domain.events import (
    CouponAllocated,
    CouponsRanOut,
    EmailChanged,
    Event,
    OutOfCoupons,
    UserId,
    UserRegistered,
)
from allocation.domain.exceptions import CouponBatchAlreadyAdded, UserAlreadyRegistered
from allocation.domain.values import BatchReference, EmailAddress, PersonName, Quantity

CouponCode = NewType("CouponCode", str)


class Aggregate(ABC):
    """A cluster of objects that is loaded, changed and stored as one, and records what happened.

    Source: *Architecture Patterns with Python*, chapters 7 and 8.
    """

    version: int
    recorded_events: tuple[Event, ...] = ()  # a class default: an object loaded from a row has it

    @property
    @abstractmethod
    def subject(self) -> str:
        """The aggregate's id, as its events are labelled with it."""

    def record(self, event: Event) -> None:
        """Remember that `event` happened, in order."""
        self.recorded_events += (event,)

    def drain_events(self) -> tuple[Event, ...]:
        """Hand over the recorded events, once."""
        events, self.recorded_events = self.recorded_events, ()
        return events


class User(Aggregate):
    """A registered person. The unit of work guarantees that no two share an e-mail address."""

    def __init__(self, user_id: UserId, name: PersonName, email: EmailAddress) -> None:
        self.id = user_id
        self.name = name
        self.email = email
        self.version = 0

    @classmethod
    def register(cls, user_id: UserId, name: PersonName, email: EmailAddress) -> "User":
        """Make a new user, and record UserRegistered."""
        user = cls(user_id, name, email)
        user.record(UserRegistered(user_id=user_id, name=str(name), email=str(email)))
        return user

    @property
    def subject(self) -> str:
        return str(self.id)

    def confirm_registration(self, name: PersonName, email: EmailAddress) -> None:
        """Accept a repeated registration with the same data; change nothing.

        :raises UserAlreadyRegistered: if the data differ
        """
        if (name, email) != (self.name, self.email):
            raise UserAlreadyRegistered(self.id)

    def change_email(self, new: EmailAddress) -> None:
        """Take another address, or spelling of it, and record EmailChanged if it differs."""
        if str(new) != str(self.email):
            old, self.email = self.email, new
            self.record(EmailChanged(user_id=self.id, old_email=str(old), new_email=str(new)))


@dataclass(eq=False)
class Coupon:
    """A code, allocated to one user out of one batch."""

    code: CouponCode
    batch_reference: BatchReference
    user_id: UserId


class CouponBatch(Aggregate):
    """A limited quantity of coupons: never one too many is allocated."""

    new_coupons: tuple[
        Coupon, ...
    ] = ()  # only those since it was loaded: it costs the same for ever

    def __init__(self, reference: BatchReference, quantity: int) -> None:
        self.reference = reference
        self.quantity = quantity
        self.remaining = quantity
        self.reported_on: date | None = None  # the day on which somebody was told that it is empty
        self.version = 0

    @classmethod
    def add(cls, reference: BatchReference, quantity: Quantity) -> "CouponBatch":
        """Make a new, full batch."""
        return cls(reference, quantity.value)

    @classmethod
    def exhausted(cls) -> "CouponBatch":
        """Make the batch to allocate from when there never was one: it refuses everybody."""
        return cls(BatchReference("NONE"), 0)

    @property
    def subject(self) -> str:
        return str(self.reference)

    def confirm_addition(self, quantity: Quantity) -> None:
        """Accept a repeated addition with the same quantity; change nothing.

        :raises CouponBatchAlreadyAdded: if the quantity differs
        """
        if quantity.value != self.quantity:
            raise CouponBatchAlreadyAdded(self.reference, self.quantity)

    def allocate(self, user_id: UserId, *, token: str, today: date) -> Coupon | None:
        """Give the user a coupon and record CouponAllocated; if none is left, OutOfCoupons.

        Costs the same however many coupons were given before. `token` makes the code unique and
        hard to guess.
        """
        if self.remaining == 0:
            self.record(OutOfCoupons(user_id=user_id))
            self._report(today)
            return None
        self.remaining -= 1
        coupon = Coupon(CouponCode(f"{self.reference}-{token}"), self.reference, user_id)
        self.new_coupons += (coupon,)
        self.record(
            CouponAllocated(user_id=user_id, batch_reference=str(self.reference), code=coupon.code)
        )
        return coupon

    def _report(self, today: date) -> None:
        """Record CouponsRanOut, at most once a day; of a batch that never was, nothing."""
        if self.quantity and (self.reported_on is None or self.reported_on < today):
            self.reported_on = today
            self.record(CouponsRanOut(batch_reference=str(self.reference)))
