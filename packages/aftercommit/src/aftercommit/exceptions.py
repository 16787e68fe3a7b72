"""The errors of the service layer: how an attempt can end, and what a handler can do wrong."""

from collections.abc import Iterable

from aftercommit.error_kinds import Conflict, Defect, Invalid, TransientError


class ConcurrentUpdate(Conflict):
    """Another transaction has changed the data between reading and writing, or was in the way."""

    def __init__(self, why: str = "the data was changed by somebody else at the same time") -> None:
        super().__init__(f"{why}; try again")


class DeliverySuperseded(Conflict):
    """The lease on a delivery has expired, and another process owns it now, or has done it."""

    def __init__(self, event_id: object, handler: str) -> None:
        super().__init__(f"the delivery of event {event_id} to {handler} is another's, or done")


class MessageAlreadyHandled(Conflict):
    """A message has arrived again, after its command was stored: it only has to be acknowledged."""

    def __init__(self, source: str, message_id: str | None) -> None:
        super().__init__(f"message {message_id!r} from {source!r} has been handled already")


class HandlerTimeout(TransientError):
    """A handler was stopped because it took longer than its time limit."""

    def __init__(self, handler: str, seconds: float) -> None:
        super().__init__(f"{handler} took longer than {seconds:g} s")


class LeaseExpired(TransientError):
    """Too little was left of a lease to begin or to go on: the delivery is given back."""

    def __init__(self, handler: str) -> None:
        super().__init__(f"{handler} could not run in time; the delivery was given back")


class HandlerPaused(TransientError):
    """A handler was paused while a delivery to it waited to begin: the delivery is given back."""

    def __init__(self, handler: str) -> None:
        super().__init__(f"{handler} is paused; the delivery was given back")


class NotBegun(TransientError):
    """A command has waited too long for its transaction, and has stored nothing: repeat it."""

    def __init__(self, command: str) -> None:
        super().__init__(f"{command} could not begin in time: others were using the database")


class NotCompleted(TransientError):
    """A handler has done its work, but that could not be stored until the end of its lease."""

    def __init__(self) -> None:
        super().__init__("others were using the database until the lease ended: it is not stored")


def install_hint(extra: str) -> str:
    """Return how to install what an extra of this engine needs: the end of many errors."""
    return f"pip install 'aftercommit[{extra}]'"


class WiringError(Defect):
    """The program is put together wrongly; raised at start, before any message is handled."""

    def __init__(self, problem: str, *names: str) -> None:
        super().__init__(f"{problem}: {', '.join(sorted(names))}")


class CausationTooDeep(Defect):
    """Handlers seem to cause each other for ever: the last of them may record no more events."""

    retryable = False

    def __init__(self, depth: int, handlers: Iterable[str | None]) -> None:
        chain = " → ".join(handler for handler in handlers if handler)
        super().__init__(
            f"the event would be number {depth} of a chain; its last handlers: {chain}"
        )


class UnexpectedAnswer(Defect):
    """A handler has returned another type than its annotation says; it counts as a failure."""

    def __init__(self, handler: str, answer: object) -> None:
        kind = type(answer).__name__
        super().__init__(f"{handler} returned {kind}, which its annotation does not say")


class HandlerInterrupted(Defect):
    """A handler has raised an exception that ends a task or the process; it has failed."""

    def __init__(self, handler: str, error: BaseException) -> None:
        super().__init__(f"{handler} raised {type(error).__name__}, which nobody had asked for")


class InvalidMessage(Invalid):
    """A stored or received message cannot be handled, however often it is tried."""


class UnknownEventType(InvalidMessage):
    """No event of this wire name exists in this version of the program."""

    def __init__(self, wire_name: str) -> None:
        super().__init__(f"unknown event type {wire_name!r}")


class InvalidPayload(InvalidMessage):
    """The data of a message do not match its type."""

    def __init__(self, wire_name: str, reason: str) -> None:
        super().__init__(f"invalid payload of {wire_name}: {reason}")
