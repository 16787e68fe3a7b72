"""The errors of the service layer: what a handler can do wrong, and how an attempt can end.

Mistake
├── NotCommitted          a handler returned without `await uow.commit()`
├── WorkAfterCommit       it went on with its unit of work afterwards, or committed again
├── NotAwaited            it did not wait for the end of what it had begun
├── OpenedTwice           it opened its unit of work, which is open
└── HandlerAborted        it raised SystemExit, or a cancellation that nobody had asked for
Unavailable
└── LeaseOver             an attempt came too late to be begun
"""

from allocation.domain.exceptions import Mistake, Unavailable


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


class LeaseOver(Unavailable):
    """It was too late to begin an attempt: somebody else may own the delivery soon."""

    def __init__(self, handler: str) -> None:
        super().__init__(f"{handler} could not begin in time; the delivery was given back")
