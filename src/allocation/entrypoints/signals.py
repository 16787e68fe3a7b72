"""Hears signals on every platform and event loop, also while the event loop is blocked.

The signal handlers of event loops do not run while the loop is blocked, and Windows has none. These
run wherever Python runs; only a call into C that never comes back needs SIGKILL.
"""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from anyio import RunFinishedError, from_thread
from anyio.lowlevel import EventLoopToken, current_token

from allocation.entrypoints.output import drain_output

MARGIN_SECONDS = 5.0  # after the grace period: for tidying up what was cancelled
STUCK = 70

logger = logging.getLogger(__name__)

Heard: TypeAlias = SimpleQueue[int | None]  # None: nobody has to listen any more


@contextmanager
def hearing(
    act: Callable[[], None], *numbers: signal.Signals, grace: float | None = None
) -> Iterator[None]:
    """Call `act` in the event loop at the first of these signals. For the main thread.

    With `grace`, in seconds, a second signal ends the process at once; and so does the end of the
    grace period, MARGIN_SECONDS later, whatever blocks the loop, hangs, or cannot be cancelled.
    """
    heard: Heard = SimpleQueue()  # of all queues, this one may be used by a signal handler
    _start(_listen, heard, act, current_token(), grace)
    previous = {n: signal.signal(n, lambda number, _: heard.put(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        heard.put(None)


def _listen(
    heard: Heard, act: Callable[[], None], loop: EventLoopToken, grace: float | None
) -> None:
    if heard.get() is None:
        return
    _start(_tell, act, loop)  # it returns only when the loop has done it
    if grace is None:
        return
    with suppress(Empty):
        while (number := heard.get(timeout=grace + MARGIN_SECONDS)) is None:
            pass  # the loop has ended, but perhaps not yet the process
        os._exit(128 + number)
    logger.critical("the process did not end in its grace period; it hangs in %s", _positions())
    drain_output()
    os._exit(STUCK)


def _tell(act: Callable[[], None], loop: EventLoopToken) -> None:
    with suppress(RunFinishedError):
        from_thread.run_sync(act, token=loop)


def _positions() -> str:
    frames = sys._current_frames()
    last = {
        t.name: traceback.extract_stack(frames[t.ident or 0])[-1] for t in threading.enumerate()
    }
    return ", ".join(f"{at.filename}:{at.lineno} ({name})" for name, at in last.items())


def _start(target: Callable[..., None], *args: object) -> None:
    name = target.__name__.strip("_")
    threading.Thread(target=target, args=args, name=f"signals: {name}", daemon=True).start()
