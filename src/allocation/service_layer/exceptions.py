"""The errors of the service layer: how an attempt can end, and what a handler can do wrong."""

from allocation.domain.exceptions import Conflict, Mistake, Unavailable


class ConcurrentUpdate(Conflict):
    """What was read has changed before it was written."""

    def __init__(self) -> None:
        super().__init__("the data was changed by somebody else at the same time; try again")


class DeliverySuperseded(Conflict):
    """The lease on a delivery ended and somebody else owns it now, or has done it."""

    def __init__(self, event_id: object, handler: str) -> None:
        super().__init__(f"the delivery of event {event_id} to {handler} is another's, or done")


class MessageAlreadyHandled(Conflict):
    """A message has arrived again, after its command was stored: it only has to be acknowledged."""

    def __init__(self, source: str, message_id: str | None) -> None:
        super().__init__(f"message {message_id!r} from {source!r} has been handled already")


class HandlerTimeout(Unavailable):
    """A handler was stopped because it took longer than its time limit."""

    def __init__(self, handler: str, seconds: float) -> None:
        super().__init__(f"{handler} took longer than {seconds:g} s")


class LeaseOver(Unavailable):
    """It was too late to begin an attempt: somebody else may own the delivery soon."""

    def __init__(self, handler: str) -> None:
        super().__init__(f"{handler} could not begin in time; the delivery was given back")


class WiringError(Mistake):
    """The program is put together wrongly; raised at start, before any message is handled."""

    def __init__(self, problem: str, *names: str) -> None:
        super().__init__(f"{problem}: {', '.join(sorted(names))}")


class NotCommitted(Mistake):
    """A handler that was given a unit of work has not committed it: its work is rolled back."""

    def __init__(self) -> None:
        super().__init__("the handler returned without `await uow.commit()`: nothing was stored")


class WorkAfterCommit(Mistake):
    """A handler has gone on working after its commit: all of its work is rolled back."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} after `await uow.commit()`: nothing was stored; commit last")


class NotAwaited(Mistake):
    """A handler has not awaited what it had begun, so nobody knows whether it was done."""

    def __init__(self, call: str) -> None:
        super().__init__(f"{call}() has not come to its end; say `await {call}(…)`")


class OpenedTwice(Mistake):
    """A handler has opened its unit of work, which is open already."""

    def __init__(self) -> None:
        super().__init__("the unit of work is open: leave out `async with uow`, only commit it")


class ChangedWhileReading(Mistake):
    """An aggregate was changed in a reading transaction, where nothing can be stored."""

    def __init__(self) -> None:
        super().__init__("an aggregate was changed while reading: ask for `uow` to store a change")


class HandlerAborted(Mistake):
    """A handler has raised what is meant to end a task or the process; it counts as a failure."""

    def __init__(self, handler: str, error: BaseException) -> None:
        super().__init__(f"{handler} raised {type(error).__name__}, which nobody had asked for")
