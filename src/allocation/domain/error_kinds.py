"""The kinds of errors. Any layer may import this.

A kind says what becomes of the work, unless an error is not `retryable` although its kind is. The
errors of an aggregate stand with it, those of a layer in its `exceptions.py`; docs/errors.md lists
all of them. An error takes facts and composes its own sentence.
"""

import re
from typing import ClassVar


class AllocationError(Exception):
    """Base of all errors this application raises on purpose.

    `slug`: its stable name for machines. `retryable`: trying the same again later may succeed; a
    permanent error is never retried.
    """

    slug: ClassVar[str] = "allocation-error"
    retryable: ClassVar[bool] = True
    resource_is_away: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.slug = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


class InvalidInput(AllocationError):
    """The input can never be accepted as it is."""

    retryable = False


class RuleViolation(AllocationError):
    """The input is well-formed, but a business rule refuses it."""

    retryable = False


class Conflict(AllocationError):
    """Another transaction was faster. This one was rolled back; a retry is safe."""


class Unavailable(AllocationError):
    """A resource this service needs is not available: it refuses, or the connection is lost.

    Handlers are tried again until it is back, with pauses up to the longest. A port of your own
    raises this; an error of another kind counts as an attempt, and is parked in the end.
    """

    resource_is_away = True


class ProgrammingError(AllocationError):
    """The program is wrong. A retry helps only if a fixed version runs by then."""


class InvalidValue(InvalidInput):
    """A value object or a setting was given a value outside its rules."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} {reason}")


def is_permanent(error: Exception) -> bool:
    """Tell whether trying again cannot help: time retryable no rule, and no refused e-mail."""
    return isinstance(error, AllocationError) and not error.retryable


def is_away(error: Exception) -> bool:
    """Tell whether a resource is away, such as a server that refuses connections."""
    return isinstance(error, AllocationError) and error.resource_is_away
