"""What becomes of lines that are written faster than they are read."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator

import click
import pytest
from aftercommit.process import nonblocking_output
from aftercommit.process.logging_setup import set_up_logging
from aftercommit.process.nonblocking_output import MAX_WAITING, lifespan

from aftercommit_tests.things.app import EXTENSIONS

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


@pytest.fixture
def reader() -> Iterator[Reader]:
    """A reader, who is asleep; the thread that writes to him ends with the test."""
    reader = Reader()
    yield reader
    reader.awake.set()


def test_lines_are_in_order_and_whole(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A story is told from its beginning."""
    monkeypatch.setattr(sys, "stdout", reader.stream)
    reader.awake.set()

    with lifespan():
        for n in range(MAX_WAITING // 2):
            click.echo(f"Иван {n}")

    assert reader.lines() == [f"Иван {n}" for n in range(MAX_WAITING // 2)]


def test_what_is_not_shown_is_counted_in_its_place(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wakes up sees what is missing, and where."""
    monkeypatch.setattr(sys, "stdout", reader.stream)

    with lifespan():
        write_too_much(reader)
        reader.awake.set()

    *shown, last = reader.lines()
    assert shown == [str(n) for n in range(MAX_WAITING)]
    assert last == "… 123 lines were not shown"


@pytest.mark.parametrize("log_format", EXTENSIONS.log_formats)
def test_the_count_is_a_line_of_the_log_where_the_log_is(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, log_format: str
) -> None:
    """One line that is no JSON would stop whoever reads a log in JSON."""
    monkeypatch.setattr(sys, "stderr", reader.stream)

    with lifespan():
        set_up_logging("things", "info", log_format, EXTENSIONS.formatters())
        write_too_much(reader, err=True)
        reader.awake.set()
    logging.basicConfig(handlers=[], force=True)
    for package in ("aftercommit", "things"):
        logging.getLogger(package).setLevel(logging.NOTSET)

    line = reader.lines()[-1]
    if log_format == "json":
        entry = json.loads(line)
        assert (entry["level"], entry["message"]) == ("warning", "123 lines were not shown")
    else:
        assert " WARNING " in line
        assert line.endswith(": 123 lines were not shown")


def test_the_end_does_not_wait_for_a_reader_who_sleeps(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody reads is lost; what was done is not."""
    monkeypatch.setattr(nonblocking_output, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(sys, "stdout", reader.stream)

    with lifespan():
        click.echo("is anybody there?")

    assert reader.seen == b""
