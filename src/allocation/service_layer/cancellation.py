"""Whether the current task is being cancelled. Any layer but the domain may import this module."""

import sys

from anyio import get_cancelled_exc_class


def is_being_cancelled() -> bool:
    """Tell whether the current task is being cancelled, by AnyIO or natively.

    For whoever has caught a cancellation and asks whether a library has made it up: asyncio's is an
    exception like any other, which some raise when a connection is lost. AnyIO alone cannot tell:
    it knows its own scopes, not an `asyncio.timeout` around us. On Trio nobody can make one up.
    """
    module = get_cancelled_exc_class().__module__.partition(".")[0]
    if module != "asyncio":
        return True
    task = sys.modules[module].current_task()
    return bool(task.cancelling() > 0)
