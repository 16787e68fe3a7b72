"""Contains what a handler can do wrong with what it raises."""

import sys
from math import inf

from anyio import current_effective_deadline, get_cancelled_exc_class

from aftercommit.errors import Defect, HandlerInterrupted

OF_THE_ENGINE = "aftercommit."  # so begins the name that AnyIO gives to a task of these modules


class contain_errors:  # noqa: N801 - reads as a statement, and a generator would cost more
    """Let a handler neither end the process nor make a cancellation up.

    Of a group of errors, the first is raised, so that it is known and dealt with by its kind.

    :raises HandlerInterrupted: instead of what may not pass
    """

    def __init__(self, handler: str) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        first = first_error(error)
        may_pass = isinstance(first, (Exception, KeyboardInterrupt, GeneratorExit))
        if not may_pass and not cancellation_requested(first):
            raise HandlerInterrupted(self._handler, first) from error
        try:
            str(first)  # as it will be stored
        except Exception as problem:
            text = f"{self._handler} raised {type(first).__name__}, whose text raises {problem!r}"
            raise Defect(text) from problem
        if first is not error:
            raise first


def cancellation_requested(error: BaseException) -> bool:
    """Tell a cancellation, by AnyIO or by the event loop, from one that a library has made up.

    The engine cancels its own tasks by scopes of AnyIO. So if asyncio's `cancel` ends one of them,
    nobody who runs the engine has asked for that: a handler has, or somebody who cancels all tasks.
    """
    cancelled = get_cancelled_exc_class()
    if not isinstance(error, cancelled):
        return False
    if current_effective_deadline() == -inf or not cancelled.__module__.startswith("asyncio"):
        return True  # nobody can make up Trio's
    task = sys.modules["asyncio"].current_task()
    return bool(task and task.cancelling() and not task.get_name().startswith(OF_THE_ENGINE))


def first_error(error: BaseException) -> BaseException:
    """Return the first error of a group that is not the cancellation of the others.

    It keeps its cause; the other errors are in its notes.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    _, others = error.split(get_cancelled_exc_class())
    first, *more = (others or error).exceptions
    found = first_error(first)
    for other in map(first_error, more):
        found.add_note(f"beside it: {type(other).__name__}: {other}")
    return found
