"""Tells a cancellation that somebody asked for from one that a library made up."""

import sys

from anyio import get_cancelled_exc_class


def is_being_cancelled() -> bool:
    """Tell whether the current task is being cancelled, by AnyIO or by the event loop itself.

    Libraries for asyncio raise CancelledError of their own, when a connection is lost for example.
    AnyIO knows only its own scopes, so asyncio is asked, if that is what runs. On Trio nobody can
    make up a cancellation.
    """
    if not get_cancelled_exc_class().__module__.startswith("asyncio"):
        return True
    task = sys.modules["asyncio"].current_task()
    return bool(task and task.cancelling())
