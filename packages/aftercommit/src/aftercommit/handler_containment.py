"""What a handler may raise, and which cancellations are real. `attempt.py` has its time limit."""

import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from math import inf

from anyio import current_effective_deadline, get_cancelled_exc_class, get_current_task

from aftercommit.errors import Defect, HandlerInterrupted

_own_task: ContextVar[int | None] = ContextVar("own_task", default=None)  # others inherit it


def contain(error: BaseException, handler: str, *, of_engine: bool = False) -> None:
    """Stop a handler from ending the process or from raising cancellations of its own.

    What may pass is raised: of a group of errors the first, so that its kind decides what happens.
    From the engine's code Ctrl-C passes, too, because it may be raised anywhere. If the error may
    pass unchanged, nothing is raised.

    :raises HandlerInterrupted: instead of an error that may not pass
    """
    first = first_error(error)
    may_pass = isinstance(first, (Exception, GeneratorExit))
    may_pass |= of_engine and isinstance(first, KeyboardInterrupt)
    if not may_pass and not cancellation_requested(first):
        raise HandlerInterrupted(handler, first) from error
    try:
        str(first)  # as it will be stored
    except Exception as problem:
        text = f"{handler} raised {type(first).__name__}, whose text raises {problem!r}"
        raise Defect(text) from problem
    if first is not error:
        raise first


async def in_own_task(function: Callable[..., Awaitable[object]], *args: object) -> None:
    """Call a function in a task that the engine has started for it; the mark is used below.

    Tasks that a handler starts inherit the mark, but are other tasks.
    """
    _own_task.set(get_current_task().id)
    await function(*args)


def cancellation_requested(error: BaseException) -> bool:
    """Tell a cancellation, by AnyIO or by the event loop, from one that a library has raised.

    The engine cancels its own tasks with AnyIO's scopes. So if asyncio's `cancel` ends one of them,
    a handler has called it, or somebody who cancels all tasks. Others may cancel their own tasks.
    """
    cancelled = get_cancelled_exc_class()
    if not isinstance(error, cancelled):
        return False
    if current_effective_deadline() == -inf or not cancelled.__module__.startswith("asyncio"):
        return True  # Trio's cannot be raised by others
    task = sys.modules["asyncio"].current_task()
    return bool(task and task.cancelling() and _own_task.get() != get_current_task().id)


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
        found.add_note(f"also raised: {type(other).__name__}: {other}")
    return found
