"""Hears signals on every platform and event loop, also while the event loop is blocked.

The signal handlers of event loops do not run while the loop is blocked, and Windows has none. Here
a thread listens; only a call into C that lets no other thread run needs SIGKILL.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from socket import socket, socketpair

from anyio import RunFinishedError, from_thread
from anyio.lowlevel import current_token

from allocation.entrypoints.console.output import drain_output

MARGIN_SECONDS = 5.0  # after the grace period: for tidying up what was cancelled
STUCK = 70
TOLD_BY_PYTHON = 0x80
OVER = 0

logger = logging.getLogger(__name__)


@asynccontextmanager
async def hearing(
    act: Callable[[], None], *numbers: signal.Signals, grace: float | None = None
) -> AsyncIterator[None]:
    """Call `act` in the event loop at the first of these signals. For the main thread.

    With `grace`, in seconds, a second signal ends the process at once; and so does the end of the
    grace period, MARGIN_SECONDS later, whatever blocks the loop, hangs, or cannot be cancelled.
    """
    loop = current_token()

    def tell() -> None:
        with suppress(RunFinishedError):
            from_thread.run_sync(act, token=loop)

    ear, mouth = socketpair()
    with _telling(mouth, numbers):
        _start(_listen, ear, numbers, tell, grace)
        yield


@contextmanager
def _telling(mouth: socket, numbers: tuple[int, ...]) -> Iterator[None]:
    """Send a byte for each signal, twice, and at the end that it is over.

    The handler in C tells it at once, in any thread, but others may take it away (asyncio does, for
    a signal handler of the loop); the one in Python runs only when the main thread does.
    """

    def tell_again(number: int, frame: object) -> None:
        mouth.send(bytes([TOLD_BY_PYTHON | number]))

    mouth.setblocking(False)
    with mouth:
        fd = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        previous = {number: signal.signal(number, tell_again) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(fd)
            mouth.send(bytes([OVER]))


def _listen(
    ear: socket, numbers: tuple[int, ...], tell: Callable[[], None], grace: float | None
) -> None:
    with ear:
        signals = _each_once(ear, numbers)
        if next(signals, None) is None:
            return
        _start(tell)  # it returns only when the loop has done it
        if grace is None:
            for _ in signals:
                pass
        else:
            _end_at_once(ear, signals, grace + MARGIN_SECONDS)


def _each_once(ear: socket, numbers: tuple[int, ...]) -> Iterator[int]:
    """Yield the signals until it is over."""
    told: Counter[int] = Counter()
    heard = 0
    while (byte := ear.recv(1)[0]) != OVER:
        number, by = byte & ~TOLD_BY_PYTHON, byte & TOLD_BY_PYTHON
        told[by] += number in numbers
        if told[by] > heard:
            heard = told[by]
            yield number


def _end_at_once(ear: socket, signals: Iterator[int], seconds: float) -> None:
    """End the process at the next signal, or so much later."""
    ear.settimeout(seconds)
    with suppress(TimeoutError):
        if number := next(signals, None):
            os._exit(128 + number)
        time.sleep(seconds)  # the loop has ended, but perhaps not what runs in threads
    logger.critical("the process did not end in its grace period; it hangs in %s", _positions())
    drain_output()
    os._exit(STUCK)


def _positions() -> str:
    frames = sys._current_frames()
    at = {
        thread.name: traceback.extract_stack(frames[thread.ident])[-1]
        for thread in threading.enumerate()
        if thread.ident in frames
    }
    return ", ".join(f"{name} at {line.filename}:{line.lineno}" for name, line in at.items())


def _start(target: Callable[..., None], *args: object) -> None:
    name = f"signals: {target.__name__.strip('_')}"
    threading.Thread(target=target, args=args, name=name, daemon=True).start()
