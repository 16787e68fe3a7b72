"""The kinds of errors, and then those of the engine: how an attempt can end, and what is wrong.

The kind decides what becomes of the work, except that an error may set `retryable` to False. It is
a plain attribute, `error_kind`, so that the errors of a domain can have one without an import. An
error without this attribute is treated as a bug.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import ClassVar, Literal, get_args

Kind = Literal["invalid", "refused", "conflict", "transient", "unavailable", "defect"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OneError = BaseException | type[BaseException]
"""An error, or its class."""


class Error(Exception):
    """Base of all errors the engine raises on purpose.

    `retryable`: a later attempt may succeed; an error that is not retryable is never retried.
    """

    error_kind: ClassVar[Kind]
    retryable: ClassVar[bool] = True


class Invalid(Error):
    """The given value can never be accepted."""

    error_kind = "invalid"


class InvalidValue(Invalid):
    """A setting, a URL or an argument has a value that is not allowed.

    >>> from aftercommit import InvalidValue
    >>> raise InvalidValue("SHOP_MAIL_URL", "is not set")
    Traceback (most recent call last):
    aftercommit.errors.InvalidValue: SHOP_MAIL_URL is not set
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} {reason}")


class Refused(Error):
    """The request is well-formed, but the rules forbid it.

    >>> from aftercommit import Refused
    >>> class CardRefused(Refused):  # by a bank; a handler that raises it is not tried again
    ...     pass
    >>> CardRefused.error_kind
    'refused'
    """

    error_kind = "refused"


class Conflict(Error):
    """Another transaction was faster. This one was rolled back; it is safe to retry."""

    error_kind = "conflict"


class TransientError(Error):
    """It could not be done now, or not in time. A failure with this error counts as an attempt.

    It is tried again and, after the last attempt, parked: for what fails for a reason that may
    pass, and that is no outage and no bug.

    >>> from aftercommit import TransientError
    >>> class RateNotYetKnown(TransientError):  # of a currency; the bank publishes it at noon
    ...     pass
    >>> RateNotYetKnown.error_kind
    'transient'
    """

    error_kind: ClassVar[Kind] = "transient"


class Unavailable(TransientError):
    """A resource that this service needs is unavailable: it refuses, or the connection was lost.

    Handlers are retried until it is back, with delays up to a maximum. Ports of your own should
    raise this; after any other error, the attempt counts, and the last one parks the delivery.

    >>> from aftercommit import Unavailable
    >>> def read(path):  # of a port
    ...     try:
    ...         return open(path)
    ...     except OSError as error:
    ...         raise Unavailable(f"{path} cannot be read") from error
    >>> read("/no/such/file")
    Traceback (most recent call last):
    aftercommit.errors.Unavailable: /no/such/file cannot be read
    """

    error_kind = "unavailable"


class Defect(Error):
    """The program is wrong. A retry helps only if a fixed version is running by then."""

    slug = "programming-error"
    error_kind = "defect"


def has_kind(error: OneError) -> bool:
    """Tell whether an error is raised on purpose, that is, has one of the known kinds."""
    return getattr(error, "error_kind", None) in KINDS


def kind_of(error: OneError) -> Kind:
    """Return the kind of an error, also of an application's; an error without one is a defect."""
    kind: Kind = getattr(error, "error_kind", "defect")
    return kind if kind in KINDS else "defect"


def slug_of(error: OneError) -> str:
    """Return the stable name of an error for machines: its own `slug`, or its class's."""
    kind = error if isinstance(error, type) else type(error)
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()
    return str(vars(kind).get("slug", name))


def is_permanent(error: Exception) -> bool:
    """Tell whether a retry cannot help: because the error says so, or because it is a refusal."""
    is_final = has_kind(error) and not getattr(error, "retryable", True)
    return is_final or kind_of(error) in ("invalid", "refused")


def is_transient(error: BaseException) -> bool:
    """Tell whether it may work later: a resource is unavailable, or the time was too short."""
    return kind_of(error) in ("transient", "unavailable")


def is_away(error: Exception) -> bool:
    """Tell whether a resource is unavailable, such as a server that refuses connections."""
    return kind_of(error) == "unavailable"


class ConcurrentUpdate(Conflict):
    """Another transaction has changed the data between reading and writing, or locked it."""

    def __init__(self, why: str = "another transaction changed the data at the same time") -> None:
        super().__init__(f"{why}; try again")


class DeliverySuperseded(Conflict):
    """A claim has ended: another process has taken over, or an operator has decided."""

    def __init__(self, event_id: object, handler: str) -> None:
        super().__init__(
            f"the claim on event {event_id} for {handler} has ended: its lease was over, and"
            " another process has taken over, or an operator has retried or discarded it"
        )


class DeliveryLocked(Unavailable):
    """Another session has locked a delivery: the end of its claim is not stored yet."""

    def __init__(self) -> None:
        super().__init__("another session holds a lock on the delivery")


class DeliveriesOutstanding(Refused):
    """The engine's tables cannot be dropped, because some deliveries still have to run."""

    def __init__(self, found: Mapping[str, int]) -> None:
        numbers = ", ".join(f"{count} of {handler}" for handler, count in found.items())
        super().__init__(
            f"deliveries are outstanding, {numbers}: let a worker run them, or discard them with "
            '"aftercommit deliveries discard", before you drop the tables'
        )


class HandlerNotFound(Refused):
    """No handler of events has or had this name."""

    def __init__(self, handler: str, known: Collection[str]) -> None:
        near = get_close_matches(handler, known)
        names = f"{'similar are' if near else 'these are'} {', '.join(near or sorted(known))}"
        super().__init__(f"{handler!r} is not a handler of events; {names}")


class MessageAlreadyHandled(Conflict):
    """A message has arrived again after its command was stored; acknowledge it, do nothing else."""

    def __init__(self, source: str, message_id: str | None) -> None:
        super().__init__(f"message {message_id!r} from {source!r} has been handled already")


class HandlerTimeout(TransientError):
    """A handler was stopped because it took longer than its time limit."""

    def __init__(self, handler: str, seconds: float) -> None:
        super().__init__(f"{handler} took longer than {seconds:g} s")


class LeaseExpired(TransientError):
    """Too little of a lease was left to begin or to go on: the delivery is released."""

    def __init__(self, handler: str, event_id: object) -> None:
        super().__init__(
            f"{handler} could not run in time on event {event_id}; the delivery was released"
        )


class HandlerPaused(TransientError):
    """A handler was paused while a delivery was waiting for it: the delivery is released."""

    def __init__(self, handler: str) -> None:
        super().__init__(f"{handler} is paused; the delivery was released")


class NotBegun(TransientError):
    """A command has waited too long for its transaction. Nothing was stored: repeat it."""

    def __init__(self, command: str) -> None:
        super().__init__(f"{command} could not begin in time: others were using the database")


class NotCompleted(TransientError):
    """A handler has done its work, but this could not be stored before its lease ended."""

    def __init__(self) -> None:
        super().__init__("done, but not stored: others used the database until the lease ended")


def install_hint(extra: str) -> str:
    """Return how to install an extra of this engine; many errors end with it."""
    return f'pip install "aftercommit[{extra}]"'


class WiringError(Defect):
    """The program is put together wrongly. Raised at start, or where only a call can show it."""

    def __init__(self, problem: str, *names: str) -> None:
        super().__init__(f"{problem}: {', '.join(sorted(names))}")


def raise_if_any(problem: str, names: Collection[str]) -> None:
    """Raise WiringError about these names, if there are any."""
    if names:
        raise WiringError(problem, *names)


class CausationTooDeep(Defect):
    """Handlers seem to cause each other endlessly: the last may not record another event."""

    retryable = False

    def __init__(self, event: str, depth: int) -> None:
        problem = f"{event} would be number {depth} in a chain of events that cause each other"
        super().__init__(f"{problem}; may_loop=True in on({event}, …) lets it begin a new chain")


class UnexpectedAnswer(Defect):
    """A handler has returned a type that its annotation does not name; it counts as a failure."""

    def __init__(self, handler: str, answer: object) -> None:
        kind = type(answer).__name__
        super().__init__(f"{handler} returned {kind}, which is not the type in its annotation")


class HandlerInterrupted(Defect):
    """A handler has raised an exception that ends a task or the process; this is a failure."""

    def __init__(self, handler: str, error: BaseException) -> None:
        super().__init__(f"{handler} raised {type(error).__name__}, which nobody requested")


class InvalidMessage(Invalid):
    """A stored or received message cannot be handled by any number of attempts."""


class UnknownEventType(InvalidMessage):
    """No event of this wire name exists in this version of the program."""

    def __init__(self, wire_name: str) -> None:
        super().__init__(f"unknown event type {wire_name!r}")


class InvalidPayload(InvalidMessage):
    """The data of a message do not match its type."""

    def __init__(self, wire_name: str, reason: str) -> None:
        super().__init__(f"invalid payload of {wire_name}: {reason}")
