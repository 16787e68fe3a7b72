"""Where output goes in tests: a reader who may be asleep, and a log of its own."""

import io
import logging
import threading

from allocation.entrypoints.output import MAX_WAITING, say

LIMIT_SECONDS = 20


class Reader(io.RawIOBase):
    """The raw end of a stream; the one who reads it may be asleep."""

    def __init__(self) -> None:
        self.awake = threading.Event()
        self.called = threading.Event()
        self.seen = b""
        self.stream = io.TextIOWrapper(io.BufferedWriter(self), encoding="utf-8")

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.called.set()
        assert self.awake.wait(LIMIT_SECONDS)
        assert isinstance(data, bytes)
        self.seen += data
        return len(data)

    def lines(self) -> list[str]:
        return self.seen.decode().splitlines()


def write_too_much(reader: Reader, *, err: bool = False) -> None:
    """Fill all that waits, then write 123 lines more."""
    say("0", err=err)
    assert reader.called.wait(LIMIT_SECONDS)
    for n in range(1, MAX_WAITING + 123):
        say(str(n), err=err)


class Log:
    """A logger of its own, and the lines it has written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(formatter)
        self.logger = logging.Logger("allocation.test", logging.INFO)
        self.logger.addHandler(self._handler)

    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    def close(self) -> None:
        self.logger.removeHandler(self._handler)
        self._handler.close()
