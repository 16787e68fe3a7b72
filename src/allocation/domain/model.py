"""The domain model: users, coupon batches and their value objects. Imports the stdlib only.

Each object enforces its own rules, so none can exist in a wrong state. Nothing here reads a clock,
draws a random number or does I/O: what the model needs comes in as arguments.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
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
from allocation.domain.exceptions import (
    CouponBatchAlreadyAdded,
    InvalidValue,
    UserAlreadyRegistered,
)

CouponCode = NewType("CouponCode", str)

MAX_NAME_LENGTH = 200
MAX_EMAIL_LENGTH = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
MAX_LOCAL_PART_LENGTH = 64  # RFC 5321, 4.5.3.1.1
MAX_QUANTITY = 1_000_000_000

_JOINERS = "\u200c\u200d"  # invisible, but part of the spelling of Persian and Indic names
_LOCAL_PART = re.compile(r'[^\s.@<>()\[\],;:"\\]+(\.[^\s.@<>()\[\],;:"\\]+)*')
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class PersonName:
    """What a person is called, in any script: one line, 1 to 200 characters, NFC.

    :raises InvalidValue: if it is empty, too long, has a control character, or no letter or digit
    """

    value: str

    def __post_init__(self) -> None:
        value = _one_line("name", self.value, MAX_NAME_LENGTH)
        if not any(character.isalnum() for character in value):
            raise InvalidValue("name", "has no letter or digit in it")
        object.__setattr__(self, "value", value)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An e-mail address, kept as it was spelled (NFC) and compared case-insensitively.

    Quoted local parts and address literals are refused, although RFC 5321 knows them: nobody who
    means to register has one.

    :raises InvalidValue: if it is no such address
    """

    value: str = field(compare=False)
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        value = _one_line("e-mail address", self.value, MAX_EMAIL_LENGTH)
        local_part, _, domain = value.rpartition("@")
        if not (_LOCAL_PART.fullmatch(local_part) and all(map(_is_label, domain.split(".")))):
            raise InvalidValue("e-mail address", f"{value!r} is not of the form name@example.com")
        if len(local_part) > MAX_LOCAL_PART_LENGTH:
            raise InvalidValue(
                "e-mail address", f"has more than {MAX_LOCAL_PART_LENGTH} characters before the @"
            )
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "key", _caseless(value))

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class BatchReference:
    """The name of a coupon batch: 1 to 40 of A-Z, a-z, 0-9, - and _, the first a letter or digit.

    :raises InvalidValue: if it is anything else
    """

    value: str

    def __post_init__(self) -> None:
        if not _REFERENCE.fullmatch(self.value):
            raise InvalidValue(
                "reference",
                f"{self.value!r} is not 1 to 40 of A-Z, a-z, 0-9, - and _, with no - or _ first",
            )

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Quantity:
    """How many coupons a batch holds: a whole number from 1 to a thousand million.

    :raises InvalidValue: if it is outside that range
    """

    value: int

    def __post_init__(self) -> None:
        if not 1 <= self.value <= MAX_QUANTITY:
            raise InvalidValue("quantity", f"{self.value} is not between 1 and {MAX_QUANTITY}")


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


def _one_line(what: str, value: str, limit: int) -> str:
    """Normalize to NFC, strip outer spaces, and check what all one-line texts have in common."""
    value = unicodedata.normalize("NFC", value).strip(" ")
    if not value:
        raise InvalidValue(what, "is empty")
    if len(value) > limit:
        raise InvalidValue(what, f"has {len(value)} characters, {limit} are allowed")
    if any(_is_control(character) for character in value):
        raise InvalidValue(what, "has a line break, a control character or invalid UTF-8 in it")
    if "=?" in value:  # RFC 2047: in a mail header this would be decoded into anything at all
        raise InvalidValue(what, "has =? in it")
    return value


def _is_label(label: str) -> bool:
    """Tell whether this can stand between the dots of a domain, in any script."""
    return bool(label) and "-" not in (label[0], label[-1]) and all(map(_is_domain_part, label))


def _is_domain_part(character: str) -> bool:
    return (
        character.isalnum() or character == "-" or unicodedata.category(character).startswith("M")
    )


def _caseless(text: str) -> str:
    """Return the form in which texts that differ only in case are equal (Unicode, D145).

    It is stored: another form would need a migration of the stored ones.
    """
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", folded)


def _is_control(character: str) -> bool:
    return (
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        and character not in _JOINERS
    )
