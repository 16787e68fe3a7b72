"""The domain model: users and coupon batches, each of which enforces its own rules.

Nothing here reads a clock, draws a random number or does I/O: that comes in as arguments.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date
from typing import NewType

from allocation.domain import events, exceptions
from allocation.domain.events import Event, UserId
from allocation.domain.values import BatchReference, EmailAddress, PersonName, Quantity

CouponCode = NewType("CouponCode", str)


class Aggregate(ABC):
    """A cluster of objects that is loaded, changed and stored as one (the book, chapter 7)."""

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
        drained, self.recorded_events = self.recorded_events, ()
        return drained


class User(Aggregate):
    """A registered person. No two share an e-mail address: the unit of work sees to it."""

    def __init__(self, user_id: UserId, name: PersonName, email: EmailAddress) -> None:
        self.id = user_id
        self.name = name
        self.email = email
        self.version = 0

    @classmethod
    def register(cls, user_id: UserId, name: PersonName, email: EmailAddress) -> "User":
        """Make a new user, and record UserRegistered."""
        user = cls(user_id, name, email)
        user.record(events.UserRegistered(user_id=user_id, name=str(name), email=str(email)))
        return user

    @property
    def subject(self) -> str:
        return str(self.id)

    def confirm_registration(self, name: PersonName, email: EmailAddress) -> None:
        """Accept a repeated registration, which changes nothing, but not one with other data."""
        if (name, email) != (self.name, self.email):
            raise exceptions.UserAlreadyRegistered(self.id)

    def change_email(self, new: EmailAddress) -> None:
        """Take another address, or spelling of it, and record EmailChanged if it differs."""
        if (old := str(self.email)) != str(new):
            self.email = new
            self.record(events.EmailChanged(user_id=self.id, old_email=old, new_email=str(new)))


@dataclass(eq=False)
class Coupon:
    """The coupon of a user, who has never two: it has no identity but its user's."""

    user_id: UserId
    code: CouponCode
    batch_reference: BatchReference


class CouponBatch(Aggregate):
    """A limited quantity of coupons: never one too many is allocated."""

    new_coupons: tuple[Coupon, ...] = ()  # since it was loaded: allocating must not get slower

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
        """Accept a repeated addition, which changes nothing, but not one of another quantity."""
        if quantity.value != self.quantity:
            raise exceptions.CouponBatchAlreadyAdded(self.reference, self.quantity)

    def allocate(self, user_id: UserId, *, token: str, today: date) -> Coupon | None:
        """Give the user a coupon, and record CouponAllocated; if none is left, OutOfCoupons.

        `token` makes its code hard to guess. A second one is refused: here, or with the commit.
        """
        if any(coupon.user_id == user_id for coupon in self.new_coupons):
            raise exceptions.CouponAlreadyAllocated(user_id)
        if self.remaining == 0:
            self._refuse(user_id, today)
            return None
        self.remaining -= 1
        coupon = Coupon(user_id, CouponCode(f"{self.reference}-{token}"), self.reference)
        self.new_coupons += (coupon,)
        batch, code = str(self.reference), coupon.code
        self.record(events.CouponAllocated(user_id=user_id, batch_reference=batch, code=code))
        return coupon

    def _refuse(self, user_id: UserId, today: date) -> None:
        """Record OutOfCoupons, and CouponsRanOut once a day; of a batch that never was, never."""
        self.record(events.OutOfCoupons(user_id=user_id))
        if self.quantity and (self.reported_on is None or self.reported_on < today):
            self.reported_on = today
            self.record(events.CouponsRanOut(batch_reference=str(self.reference)))
