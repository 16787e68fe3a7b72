"""What is told to a person: never holds up the work, nor its end. For the command line only.

While a command runs, standard output and standard error are `Unhurried`, for everybody: the story,
the log, and a `print` in a handler. Otherwise a terminal stopped by Ctrl-S, or a full pipe that
nobody reads, would stop the event loop, and the leases of its deliveries would end.
"""

import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from queue import SimpleQueue
from threading import RLock, Thread
from time import sleep
from typing import Any, TextIO

import click

MAX_WAITING = 1000  # writes, each a line as a rule
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.01

UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Unhurried(io.RawIOBase):
    """Takes bytes at once, and writes them in order, in a thread of its own.

    When too much waits, what comes is dropped and counted, until half of what waited is written.
    """

    def __init__(self, raw: Any) -> None:
        self.error: OSError | None = None
        self.dropped_line: Callable[[int], str] = "… {} lines were not shown".format
        self._raw = raw
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        self._lock = RLock()  # a finalizer may write in the middle of a write
        self._taken = self._written = self._dropped = 0
        self._thread = Thread(target=self._write_all, name="output", daemon=True)
        self._thread.start()

    @property
    def behind(self) -> int:
        """How many writes whoever reads is behind."""
        return self._taken - self._written

    def write(self, data: Any) -> int:
        """Take these bytes, or drop them; never wait."""
        with self._lock:
            if self.behind >= (MAX_WAITING // 2 if self._dropped else MAX_WAITING):
                self._dropped += data.count(b"\n")
            elif data:
                self._tell_dropped()
                self._put(bytes(data))
        return len(data)

    def drain(self) -> None:
        """Wait until all is written, or until nobody has read for PATIENCE_SECONDS: the end."""
        with self._lock:
            self._tell_dropped()
            self._waiting.put(None)
        before = -1
        while self._thread.is_alive() and self._written != before:
            before = self._written
            self._thread.join(PATIENCE_SECONDS)

    def take_error(self) -> OSError | None:
        """Return the first error of writing, once."""
        error, self.error = self.error, None
        return error

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Tell whether a person reads this."""
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        """Return the descriptor that is written to in the end."""
        return int(self._raw.fileno())

    def _put(self, data: bytes) -> None:
        self._taken += 1
        self._waiting.put(data)

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._put(f"{self.dropped_line(self._dropped)}\n".encode())
            self._dropped = 0

    def _write_all(self) -> None:
        failed = False
        while (data := self._waiting.get()) is not None:
            try:
                self._write_one(data)
            except OSError as error:
                self.error, failed = self.error if failed else error, True
            self._written += 1

    def _write_one(self, data: bytes) -> None:
        while data:
            if (count := self._raw.write(data)) is None:
                sleep(PAUSE_SECONDS)  # somebody has made the terminal non-blocking
            data = data[count or 0 :]
        self._raw.flush()


@contextmanager
def unhurried_output() -> Iterator[None]:
    """Let nobody who writes to standard output or error wait for those who read them."""
    out, err = _unhurried(sys.stdout), _unhurried(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        finally:
            drain_output()


def drain_output() -> None:
    """Write what waits, if somebody reads it; nothing can be said afterwards."""
    for writer in writers():
        writer.drain()
        _tell_error(writer)


def tell_dropped_by(stream: TextIO, line: Callable[[int], str]) -> None:
    """Let this line, which is told how many, take the place of those that were dropped."""
    if writer := writer_of(stream):
        writer.dropped_line = line


def say(text: str, *, err: bool = False) -> None:
    """Print a line at once; whether it can be written or read does not matter for the work."""
    click.echo(text, err=err)
    if writer := writer_of(sys.stdout):
        _tell_error(writer)


def printable(text: str) -> str:
    """Escape what would command a terminal, in a way that JSON has, too."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def writers() -> list[Unhurried]:
    """Return those that write standard output and standard error now."""
    return [writer for stream in (sys.stdout, sys.stderr) if (writer := writer_of(stream))]


def writer_of(stream: Any) -> Unhurried | None:
    """Return the one that writes a stream; None if it is written as ever."""
    buffer = getattr(stream, "buffer", None)
    return buffer if isinstance(buffer, Unhurried) else None


def _tell_error(writer: Unhurried) -> None:
    error = writer.take_error()
    if error and not isinstance(error, BrokenPipeError):
        click.echo(f"the output could not be written: {error}", err=True)


def _unhurried(stream: TextIO | Any) -> Any:
    buffer = getattr(stream, "buffer", None)
    if buffer is None:  # there is no stream if whoever started us has closed it
        return stream
    return io.TextIOWrapper(
        Unhurried(getattr(buffer, "raw", buffer)),
        encoding=stream.encoding,
        errors="backslashreplace",
        write_through=True,
    )
