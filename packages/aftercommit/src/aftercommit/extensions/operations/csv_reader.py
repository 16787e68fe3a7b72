"""Reads the rows of a CSV file for an import, in constant memory, whatever the file contains."""

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any, NamedTuple

from anyio import from_thread

from aftercommit.errors import InvalidValue
from aftercommit.extensions.operations.batched_transactions import Advance

MAX_LENGTH = 10_000  # of a row, in characters
MAX_LINES = 10  # of a row: a quoted cell may have a few line breaks in it
POLL_SECONDS = 0.1


class Row(NamedTuple):
    """A row, and the line on which it starts: its cells by column, or the problem with it."""

    line: int
    cells: Mapping[str, str]
    problem: str = ""


@contextmanager
def read_rows(path: Path, columns: Collection[str], *, advance: Advance) -> Iterator[Iterator[Row]]:
    """Open a CSV file whose rows are read when they are taken; `advance` gets the bytes read.

    It is UTF-8, with or without a byte order mark; its first line names these columns, and perhaps
    others. A row that cannot be read is returned with its problem, and reading goes on with its
    next line. Rows are read in a worker thread, which can be cancelled.

    :raises InvalidValue: at the first row, if the first line lacks a column
    """
    raw = _Cancellable(path)
    raw.advance = advance
    buffered = io.BufferedReader(raw)
    with io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape") as text:
        yield _rows(text, columns)


class _Cancellable(io.FileIO):
    """A file whose reader can be cancelled while it waits, for example for an idle pipe."""

    advance: Advance

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes, or for the end of the file, and for a cancellation."""
        while not select([self], [], [], POLL_SECONDS)[0]:
            from_thread.check_cancelled()
        count = super().readinto(buffer) or 0
        self.advance(count)
        return count


def _rows(text: io.TextIOWrapper, columns: Collection[str]) -> Iterator[Row]:
    found = _numbered_rows(text)
    header = _header(next(found, (1, ""))[1], columns)
    for line, row in found:
        if isinstance(row, str):
            yield Row(line, {}, f"row {row}")
        elif row:
            cells = dict(zip(header, row, strict=False))
            is_whole = cells.keys() >= {*columns}
            yield Row(line, cells) if is_whole else Row(line, {}, "row has too few cells")


def _header(row: list[str] | str, columns: Collection[str]) -> list[str]:
    header = [] if isinstance(row, str) else [cell.strip().lower() for cell in row]
    for column in columns:
        if column not in header:
            raise InvalidValue("the first line", f"does not name the columns {','.join(columns)}")
        if header.count(column) > 1:
            raise InvalidValue("the first line", f"names the column {column} more than once")
    return header


def _numbered_rows(text: io.TextIOWrapper) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the cells of each row, or why it is no row, and the line where it starts.

    After a faulty row, its second line begins the next row.
    """
    number, ahead = 1, list[str]()
    while True:
        taken: list[str] = []
        try:
            row: list[str] | str | None
            row = next(csv.reader(_lines_of_one_row(text, ahead, taken), strict=True), None)
        except csv.Error as error:
            row = f"is not valid CSV up to line {number + len(taken) - 1}: {error}"
            ahead[:0] = taken[1:]
            del taken[1:]
        if row is None:
            return
        yield number, row
        number += len(taken)


def _lines_of_one_row(text: io.TextIOWrapper, ahead: list[str], taken: list[str]) -> Iterator[str]:
    while len(taken) < MAX_LINES and (line := ahead.pop(0) if ahead else _line(text)):
        taken.append(line)
        if sum(map(len, taken)) > MAX_LENGTH + 1:
            raise csv.Error(f"the row has more than {MAX_LENGTH} characters")
        yield line
    if taken:  # another line is read only while a quote is open
        raise csv.Error("a quote is not closed")


def _line(text: io.TextIOWrapper) -> str:
    line = rest = text.readline(MAX_LENGTH + 2)
    while len(rest) > MAX_LENGTH + 1 and not rest.endswith("\n"):
        rest = text.readline(MAX_LENGTH + 2)  # and forget it
    return line
