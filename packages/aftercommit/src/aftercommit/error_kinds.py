"""The kinds of errors, and the base of all that the engine raises. Any layer may import this.

A kind says what becomes of the work, unless an error is not `retryable` although its kind is. It is
a plain attribute, `error_kind`, so that the errors of a domain have one and import nothing. An
error without it is a bug.
"""

import re
from typing import ClassVar, Literal, get_args

Kind = Literal["invalid", "refused", "conflict", "transient", "unavailable", "defect"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OneError = BaseException | type[BaseException]
"""An error, or its class."""


class Error(Exception):
    """Base of all errors the engine raises on purpose.

    `retryable`: trying the same again later may succeed; a permanent error is never retried.
    """

    error_kind: ClassVar[Kind]
    retryable: ClassVar[bool] = True


class Invalid(Error):
    """What was given can never be accepted as it is."""

    error_kind = "invalid"


class InvalidValue(Invalid):
    """A setting, a URL or an argument has a value outside its rules."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} {reason}")


class Refused(Error):
    """What was asked for is well-formed, but it is not to be done."""

    error_kind = "refused"


class Conflict(Error):
    """Another transaction was faster. This one was rolled back; a retry is safe."""

    error_kind = "conflict"


class TransientError(Error):
    """It could not be done now, or not in time. A failure with this error counts as an attempt."""

    error_kind: ClassVar[Kind] = "transient"


class Unavailable(TransientError):
    """A resource this service needs is not available: it refuses, or the connection is lost.

    Handlers are tried again until it is back, with pauses up to the longest. A port of your own
    raises this; an error of another kind counts as an attempt, and is parked in the end.
    """

    error_kind = "unavailable"


class Defect(Error):
    """The program is wrong. A retry helps only if a fixed version runs by then."""

    slug = "programming-error"
    error_kind = "defect"


def has_kind(error: OneError) -> bool:
    """Tell whether an error is raised on purpose: it has one of the known kinds."""
    return getattr(error, "error_kind", None) in KINDS


def kind_of(error: OneError) -> Kind:
    """Return the kind of an error, also one of an application; what has none is a defect."""
    kind: Kind = getattr(error, "error_kind", "defect")
    return kind if kind in KINDS else "defect"


def slug_of(error: OneError) -> str:
    """Return the stable name of an error for machines: that of its class, or its own `slug`."""
    kind = error if isinstance(error, type) else type(error)
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()
    return str(vars(kind).get("slug", name))


def is_permanent(error: Exception) -> bool:
    """Tell whether trying again cannot help: time retryable no rule, and no refused e-mail."""
    is_final = has_kind(error) and not getattr(error, "retryable", True)
    return is_final or kind_of(error) in ("invalid", "refused")


def is_transient(error: BaseException) -> bool:
    """Tell whether it may be done later, since a resource is away, or time was too short."""
    return kind_of(error) in ("transient", "unavailable")


def is_away(error: Exception) -> bool:
    """Tell whether a resource is away, such as a server that refuses connections."""
    return kind_of(error) == "unavailable"
