"""Tells a cancellation that somebody asked for from one that a library made up."""

import sys

from anyio import get_cancelled_exc_class


def is_being_cancelled(error: BaseException) -> bool:
    """Tell whether `error` is the cancellation of the current task, by AnyIO or by the event loop.

    Libraries for asyncio raise CancelledError of their own, when a connection is lost for example.
    AnyIO knows only its own scopes, so asyncio is asked, if that is what runs. Nobody can make up
    a cancellation of Trio's.
    """
    if not isinstance(error, get_cancelled_exc_class()):
        return False
    if not get_cancelled_exc_class().__module__.startswith("asyncio"):
        return True
    task = sys.modules["asyncio"].current_task()
    return bool(task and task.cancelling())


def cause_of(error: BaseException) -> BaseException:
    """Return the first error of a group that is not the cancellation of the others."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    _, others = error.split(get_cancelled_exc_class())
    return cause_of((others or error).exceptions[0])
