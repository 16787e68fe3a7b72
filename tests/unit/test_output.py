"""What becomes of lines that are written faster than they are read."""

import sys
from collections.abc import Iterator

import pytest

from allocation.entrypoints import output
from allocation.entrypoints.output import MAX_WAITING, say, unhurried_output
from tests.output import Reader, write_too_much


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

    with unhurried_output():
        for n in range(MAX_WAITING):
            say(f"Иван {n}")

    assert reader.lines() == [f"Иван {n}" for n in range(MAX_WAITING)]


def test_what_is_not_shown_is_counted_in_its_place(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wakes up sees what is missing, and where."""
    monkeypatch.setattr(sys, "stdout", reader.stream)

    with unhurried_output():
        write_too_much(reader)
        reader.awake.set()

    *shown, last = reader.lines()
    assert shown == [str(n) for n in range(MAX_WAITING)]
    assert last == "… 123 lines were not shown"


def test_the_end_does_not_wait_for_a_reader_who_sleeps(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody reads is lost; what was done is not."""
    monkeypatch.setattr(output, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(sys, "stdout", reader.stream)

    with unhurried_output():
        say("is anybody there?")

    assert reader.seen == b""
