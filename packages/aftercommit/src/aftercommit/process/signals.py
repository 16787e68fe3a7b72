"""Signals that ask the process to stop, and its hard end if it does not.

A thread reads them from `signal.set_wakeup_fd`, because an event loop's signal handlers do not run
while the loop is blocked, and Python's do not run while the main thread is in a C call.
"""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from tempfile import NamedTemporaryFile
from typing import IO

from anyio import RunFinishedError, from_thread
from anyio.lowlevel import current_token

from aftercommit.terminal.nonblocking_output import PATIENCE_SECONDS, finish

MARGIN_SECONDS = 5.0  # after the grace period, to clean up cancelled work
HUNG = 70

logger = logging.getLogger(__name__)


@contextmanager
def stop_signals(
    stop: Callable[[], None], *numbers: signal.Signals, name: str = "", grace: float | None = None
) -> Iterator[None]:
    """Call `stop` in the event loop at the first of these signals. For the main thread only.

    With `grace`, in seconds, a second signal ends the process at once; and so does the end of the
    grace period, after another MARGIN_SECONDS, even if the loop is blocked or work cannot be
    cancelled. Then a file may be left, whose name begins with the application's `name`.

    Python's C handler writes the signal's number to the descriptor at once, in any thread. If
    another descriptor was set since, as asyncio does for its own signal handlers, our handler
    writes the number instead, when the main thread runs Python.
    """
    loop, set_receiver = current_token(), partial(signal.set_wakeup_fd, warn_on_full_buffer=False)
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def stop_in_loop() -> None:
        with suppress(RunFinishedError):
            from_thread.run_sync(stop, token=loop)

    def send_if_diverted(number: int, frame: object) -> None:
        present = set_receiver(sender.fileno())
        if present != sender.fileno():
            set_receiver(present)
            sender.send(bytes([number]))

    _start(_watch, receiver, numbers, stop_in_loop, name, grace)
    with sender:
        present = set_receiver(sender.fileno())
        previous = {number: signal.signal(number, send_if_diverted) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            set_receiver(present)


def _watch(
    receiver: socket.socket,
    numbers: tuple[int, ...],
    stop: Callable[[], None],
    name: str,
    grace: float | None,
) -> None:
    with receiver:
        received = chain.from_iterable(iter(partial(receiver.recv, 1), b""))
        for nth, number in enumerate(filter(numbers.__contains__, received)):
            if nth > 0 and grace is not None:
                os._exit(128 + number)
            _start(stop)  # it returns only when the loop has done it
            if grace is not None:
                _start(_end_after, name, grace + MARGIN_SECONDS)


def _end_after(name: str, seconds: float) -> None:
    """End the process then: its loop may have ended, but not its threads.

    If this thread hangs, too, for example on a lock of the log, `faulthandler` ends the process
    with exit code 1, and leaves a file with the stacks of all threads, because a pipe may be full.
    """
    time.sleep(seconds)
    stacks = _file_for_stacks(name)
    faulthandler.dump_traceback_later(3 * PATIENCE_SECONDS, exit=True, file=stacks)
    logger.critical("the process did not end in its grace period; it hangs in %s", _positions())
    finish()
    stacks.close()  # which deletes it
    os._exit(HUNG)


def _file_for_stacks(name: str) -> IO[bytes]:
    with suppress(OSError):
        return NamedTemporaryFile(prefix=f"{name}-stacks-")
    return open(os.devnull, "wb")


def _positions() -> str:
    frames = sys._current_frames()
    at = ((thread.name, frames.get(thread.ident or 0)) for thread in threading.enumerate())
    return ", ".join(f"{n} at {f.f_code.co_filename}:{f.f_lineno}" for n, f in at if f)


def _start(target: Callable[..., None], *args: object) -> None:
    name = f"signals: {target.__name__.strip('_')}"
    threading.Thread(target=target, args=args, name=name, daemon=True).start()
