"""Who reads the output of tests: somebody who may be asleep."""

import io
import threading

import click
from aftercommit.process.nonblocking_output import MAX_WAITING

LIMIT_SECONDS = 180


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
    click.echo("0", err=err)
    assert reader.called.wait(LIMIT_SECONDS)
    for n in range(1, MAX_WAITING + 123):
        click.echo(str(n), err=err)
