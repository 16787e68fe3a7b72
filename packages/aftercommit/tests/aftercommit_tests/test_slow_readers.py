"""What becomes of lines that are written faster than they are read."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import click
import pytest

from aftercommit_tests.command_line import own_logging
from aftercommit_tests.inside.process import MAX_WAITING, lifespan, set_up_logging
from aftercommit_tests.things.app import APP

LIMIT_SECONDS = 60


class Reader(io.RawIOBase):
    """The raw end of a stream; the one who reads it may be asleep."""

    def __init__(self) -> None:
        self.awake = threading.Event()
        self.called = threading.Event()
        self.seen = b""

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


@pytest.fixture
def reader() -> Iterator[Reader]:
    """A reader, who is asleep; the thread that writes to him ends with the test."""
    reader = Reader()
    yield reader
    reader.awake.set()


@contextmanager
def read_by(reader: Reader) -> Iterator[None]:
    """Print, as a command does, what he is to read."""
    stream = io.TextIOWrapper(io.BufferedWriter(reader), encoding="utf-8")
    with redirect_stdout(stream), redirect_stderr(stream), lifespan():
        yield


def write_too_much(reader: Reader, *, err: bool = False) -> None:
    """Fill all that waits, then write 123 lines more; then somebody reads them."""
    click.echo("Иван 0", err=err)
    assert reader.called.wait(LIMIT_SECONDS)
    for n in range(1, MAX_WAITING + 123):
        click.echo(f"Иван {n}", err=err)
    reader.awake.set()


def test_what_is_not_shown_is_counted_in_its_place(reader: Reader) -> None:
    """Anyone who wakes up sees what is missing, and where; all else is in order, and whole."""
    with read_by(reader):
        write_too_much(reader)

    *shown, last = reader.lines()
    assert shown == [f"Иван {n}" for n in range(MAX_WAITING)]
    assert last == "… 123 lines were not shown"


@pytest.mark.parametrize("log_format", APP.parts.log_formats)
def test_the_count_is_a_line_of_the_log_where_the_log_is(reader: Reader, log_format: str) -> None:
    """One line that is no JSON would stop anyone who reads a log in JSON."""
    with own_logging(), read_by(reader):
        set_up_logging("things", "info", log_format, APP.parts.formatters())
        write_too_much(reader, err=True)

    line = reader.lines()[-1]
    if log_format == "json":
        entry = json.loads(line)
        assert (entry["level"], entry["message"]) == ("warning", "123 lines were not shown")
    else:
        assert " WARNING " in line
        assert line.endswith(": 123 lines were not shown")
