"""Printing that delays neither the work nor the end of a process.

While a command runs, standard output and standard error are `NonBlockingWriter`s, for the console
reporter, the log, and a `print` in a handler. Otherwise, a terminal stopped with Ctrl-S, or a full
pipe that nobody reads, would block the event loop, and the leases of its deliveries would expire. A
`logging.handlers.QueueListener` would protect only the log, and has no time limit at its end.
"""

import errno
import io
import logging
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from queue import SimpleQueue
from threading import RLock, Thread
from time import sleep
from typing import Any

import anyio
import click

from aftercommit.terminal.escaping import escape_printed

MAX_WAITING = 1000  # writes, as a rule a line each
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.01


class EscapingStream(io.TextIOWrapper):
    """Text that cannot control the terminal, printed by a command, a handler or a library."""

    draws = False

    def write(self, text: str) -> int:
        """Write text; what would control the terminal is escaped, except while drawing."""
        return super().write(text if self.draws else escape_printed(text))


class NonBlockingWriter(io.RawIOBase):
    """Accepts bytes at once; a thread writes them in order.

    When too much is waiting, more is dropped and counted, until half of it is written.
    """

    def __init__(self, raw: Any) -> None:
        self.waiting: deque[bytes] = deque()  # the first is being written
        self.error: OSError | None = None  # the first error, until it was raised or printed
        self._raw = raw
        self._dropped = 0
        self._lock = RLock()  # a finalizer may write in the middle of a write
        self._more: SimpleQueue[bool] = SimpleQueue()
        self._thread = Thread(target=self._write_all, name="output", daemon=True)
        self._thread.start()

    def write(self, data: Any) -> int:
        """Accept these bytes, or drop them; never wait."""
        with self._lock:
            if len(self.waiting) >= (MAX_WAITING // 2 if self._dropped else MAX_WAITING):
                self._dropped += data.count(b"\n")
            else:
                self._put(bytes(data), more=True)
        return len(data)

    def finish(self) -> None:
        """Wait until everything is written, or until nobody has read for PATIENCE_SECONDS."""
        with self._lock:
            self._put(b"", more=False)
        before = 0
        while self._thread.is_alive() and before != (before := len(self.waiting)):
            self._thread.join(PATIENCE_SECONDS)
        if self.error and not isinstance(self.error, BrokenPipeError):
            click.echo(f"the output could not be written: {self.error}", err=True)

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether the target is a terminal."""
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        """Return the descriptor of the target."""
        return int(self._raw.fileno())

    def _put(self, data: bytes, *, more: bool) -> None:
        if self._dropped:
            data = f"{_notice(self, self._dropped)}\n".encode() + data
            self._dropped = 0
        self.waiting.append(data)
        self._more.put(more)

    def _write_all(self) -> None:
        failed, more = False, True
        while more:
            more = self._more.get()
            try:
                self._write(self.waiting[0])
            except OSError as error:
                self.error, failed = self.error if failed else error, True
            self.waiting.popleft()

    def _write(self, data: bytes) -> None:
        while data:
            if (count := self._raw.write(data)) is None:
                sleep(PAUSE_SECONDS)  # another process has made the terminal non-blocking
            data = data[count or 0 :]


@contextmanager
def lifespan() -> Iterator[None]:
    """Replace standard output and standard error with writers; finish them at the end."""
    out, err = _non_blocking(sys.stdout), _non_blocking(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        finally:
            finish()


@contextmanager
def drawing(stream: Any) -> Iterator[None]:
    """Let a stream draw on the terminal; other output is still escaped."""
    if isinstance(stream, EscapingStream):
        stream.draws = True
    try:
        yield
    finally:
        if isinstance(stream, EscapingStream):
            stream.draws = False


async def drain(waiting: int = 0) -> None:
    """Wait until at most `waiting` writes wait: requested output has to be complete.

    :raises OSError: if standard output could not be written
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    for writer in _writers():
        while len(writer.waiting) > waiting:  # noqa: ASYNC110 - it is a thread that writes
            await anyio.sleep(PAUSE_SECONDS)
        if writer.error and writer is sys.stdout.buffer:
            error, writer.error = writer.error, None
            raise error


def finish() -> None:
    """Write what is waiting, if somebody reads it; nothing is printed afterwards."""
    for writer in _writers():
        writer.finish()


def _non_blocking(stream: Any) -> Any:
    buffer = getattr(stream, "buffer", None)
    if buffer is None:  # the parent process has closed it
        return stream
    writer: Any = NonBlockingWriter(getattr(buffer, "raw", buffer))
    return EscapingStream(
        writer,
        encoding=stream.encoding,
        errors="backslashreplace",
        write_through=True,
    )


def _writers() -> list[NonBlockingWriter]:
    buffers = (getattr(stream, "buffer", None) for stream in (sys.stdout, sys.stderr))
    return [buffer for buffer in buffers if isinstance(buffer, NonBlockingWriter)]


def _notice(writer: NonBlockingWriter, count: int) -> str:
    """Return the text in place of dropped lines; it has the format of the log, if it is the log."""
    text = f"{count} lines were not shown"
    for handler in logging.getLogger().handlers:
        if getattr(getattr(handler, "stream", None), "buffer", None) is writer:
            record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
            return handler.format(record)
    return f"… {text}"
