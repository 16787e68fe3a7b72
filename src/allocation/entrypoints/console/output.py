"""What is told to a person: never holds up the work, nor its end.

While a command runs, standard output and standard error are `Unhurried`, for everybody: the story,
the log, and a `print` in a handler. Otherwise a terminal stopped by Ctrl-S, or a full pipe that
nobody reads, would stop the event loop, and the leases of its deliveries would end.
"""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from queue import SimpleQueue
from threading import RLock, Thread
from time import sleep
from typing import Any, TextIO

import anyio
import click

from allocation.entrypoints.output import Output

MAX_WAITING = 1000  # writes, each a line as a rule
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.01


class Unhurried(io.RawIOBase):
    """Takes bytes at once, and writes them in order, in a thread of its own.

    When too much waits, what comes is dropped and counted, until half of what waited is written.
    """

    def __init__(self, raw: Any) -> None:
        self.error: OSError | None = None
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
            self._put(f"{_line_for(self, self._dropped)}\n".encode())
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


class UnhurriedOutput(Output):
    """Standard output and error that let nobody wait who writes to them."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Put them in the place of those that there are, and write the rest at the end."""
        out, err = _unhurried(sys.stdout), _unhurried(sys.stderr)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                yield
            finally:
                drain_output()

    def say(self, text: str, *, err: bool) -> None:
        """Print a line at once; tell if an earlier one could not be written."""
        click.echo(text, err=err)
        if writer := _writer_of(sys.stdout):
            _tell_error(writer)

    async def keep_pace(self, *, to_the_end: bool = False) -> None:
        """Wait until those who read are at most half of MAX_WAITING behind, or not at all."""
        behind = 0 if to_the_end else MAX_WAITING // 2
        for writer in _writers():
            while writer.behind > behind:  # noqa: ASYNC110 - it is a thread that writes
                await anyio.sleep(PAUSE_SECONDS)
        if (output := _writer_of(sys.stdout)) and (error := output.take_error()):
            raise error


def drain_output() -> None:
    """Write what waits, if somebody reads it; nothing can be said afterwards."""
    for writer in _writers():
        writer.drain()
        _tell_error(writer)


def _writers() -> list[Unhurried]:
    """Return those that write standard output and standard error now."""
    return [writer for stream in (sys.stdout, sys.stderr) if (writer := _writer_of(stream))]


def _writer_of(stream: Any) -> Unhurried | None:
    """Return the one that writes a stream; None if it is written as ever."""
    buffer = getattr(stream, "buffer", None)
    return buffer if isinstance(buffer, Unhurried) else None


def _tell_error(writer: Unhurried) -> None:
    error = writer.take_error()
    if error and not isinstance(error, BrokenPipeError):
        click.echo(f"the output could not be written: {error}", err=True)


def _line_for(writer: Unhurried, count: int) -> str:
    """Return what is told in the place of so many lines: where the log is, as it tells things."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and _writer_of(handler.stream) is writer:
            return handler.format(_dropped(count))
    return f"… {count} lines were not shown"


def _dropped(count: int) -> logging.LogRecord:
    fields = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
    return logging.makeLogRecord(fields | {"msg": "%d lines were not shown", "args": (count,)})


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
