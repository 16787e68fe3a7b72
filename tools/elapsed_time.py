"""Tells how long something has been running, so that nobody takes it for stuck."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

SAY_SECONDS = 4.0


@contextmanager
def telling_time() -> Iterator[None]:
    """Print on stderr every few seconds how long it has been running; through a pipe, too."""
    began, ended = time.monotonic(), Event()

    def tell() -> None:
        while not ended.wait(SAY_SECONDS):
            print(f"{time.monotonic() - began:4.0f} s  …", file=sys.stderr, flush=True)

    thread = Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
