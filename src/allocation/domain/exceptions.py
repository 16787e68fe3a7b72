"""The kinds of errors, and those that break a rule of the business. Any layer may import this.

A kind says what becomes of the work; whoever raises errors of his own has an `exceptions.py`, and
docs/errors.md lists all of them. An error takes facts and composes its own sentence.
"""

import re
from typing import ClassVar


class AllocationError(Exception):
    """Base of all errors this application raises on purpose.

    `slug`: its stable name for machines. `heals`: trying the same again later may succeed; what
    does not heal is never retried.
    """

    slug: ClassVar[str] = "allocation-error"
    heals: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        cls.slug = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


class Malformed(AllocationError):
    """The input can never be accepted as it is."""

    heals = False


class Refused(AllocationError):
    """The input is well-formed, but a business rule refuses it."""

    heals = False


class Conflict(AllocationError):
    """Somebody else was faster. The transaction was rolled back; trying anew is safe."""


class Unavailable(AllocationError):
    """A resource this service needs is not available."""


class Mistake(AllocationError):
    """The program is wrong. It heals only in so far as a mended program may run tomorrow."""


class InvalidValue(Malformed):
    """A value object or a setting was given a value outside its rules."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} {reason}")


class EmailAlreadyRegistered(Refused):
    """Another user holds this e-mail address (compared case-insensitively)."""

    def __init__(self, email: object) -> None:
        super().__init__(f"e-mail address {email} is already registered")


class UserAlreadyRegistered(Refused):
    """The user id was registered before, with other data."""

    def __init__(self, user_id: object) -> None:
        super().__init__(f"user {user_id} is already registered with another name or e-mail")


class UserNotFound(Refused):
    """No user has this id."""

    def __init__(self, user_id: object) -> None:
        super().__init__(f"there is no user {user_id}")


class CouponBatchAlreadyAdded(Refused):
    """The reference was used before, for a batch of another quantity."""

    def __init__(self, reference: object, quantity: int) -> None:
        super().__init__(f"coupon batch {reference} was already added with quantity {quantity}")


class CouponAlreadyAllocated(Refused):
    """The user has a coupon: nobody gets a second one."""

    def __init__(self, user_id: object) -> None:
        super().__init__(f"user {user_id} has a coupon already")
