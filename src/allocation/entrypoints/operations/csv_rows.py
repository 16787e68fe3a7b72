"""Reads the rows of a CSV file, in constant memory, whatever is in it. For the import only."""

import csv
import io
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import fstat
from pathlib import Path
from select import select
from typing import Any

from anyio import from_thread

from allocation.domain.exceptions import InvalidValue

COLUMNS = {"name", "email"}
MAX_LENGTH = 10_000  # of a row, in characters
MAX_LINES = 10  # of a row: a quoted cell may have a few line breaks in it
POLL_SECONDS = 0.1

Row = tuple[int, dict[str, str] | str]  # the line it starts on, and its cells or why it has none


@contextmanager
def read_rows(path: Path, *, advance: Callable[[int], None]) -> Iterator[Iterator[Row]]:
    """Open a CSV file whose rows are read as they are taken; `advance` is told of the bytes.

    UTF-8, with or without a byte order mark. A row that cannot be read comes as the reason; reading
    goes on with its next line. Rows are taken in a worker thread, which can be cancelled.
    """
    with path.open("rb", buffering=0) as file:
        pieces = io.BufferedReader(_Cancellable(file, advance))
        text = io.TextIOWrapper(pieces, encoding="utf-8-sig", errors="surrogateescape")
        yield _rows(_Lines(text))


class _Cancellable(io.RawIOBase):
    """A file whose reader can be cancelled while it waits, as for a pipe to which nobody writes."""

    def __init__(self, file: io.FileIO, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance
        self._waits = not stat.S_ISREG(fstat(file.fileno()).st_mode)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes, or for the end; be cancelled meanwhile."""
        while self._waits and not select([self._file], [], [], POLL_SECONDS)[0]:
            from_thread.check_cancelled()
        count = self._file.readinto(buffer)
        self._advance(count)
        return count


class _Lines:
    """The lines of a text, from which rows are taken."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.number = 1  # of the next line
        self._text = text
        self._again: list[str] = []

    def take_row(self) -> list[str]:
        """Return the cells of the next row; an empty line has none.

        :raises csv.Error: if it is no row; the line after its first one comes next
        :raises StopIteration: if no line is left
        """
        taken: list[str] = []
        try:
            return next(csv.reader(self._of_one_row(taken), strict=True))
        except csv.Error as error:
            last, again = self.number - 1, taken[1:]
            self._again[:0] = again
            self.number -= len(again)
            raise csv.Error(f"is not valid CSV up to line {last}: {error}") from None

    def _of_one_row(self, taken: list[str]) -> Iterator[str]:
        while len(taken) < MAX_LINES and (line := self._next()):
            taken.append(line)
            self.number += 1
            if sum(map(len, taken)) > MAX_LENGTH + 1:
                raise csv.Error(f"it has more than {MAX_LENGTH} characters")
            yield line
        if taken:  # a line more is asked for only if a quote is open
            raise csv.Error("a quote is not closed")

    def _next(self) -> str:
        if self._again:
            return self._again.pop(0)
        line = rest = self._text.readline(MAX_LENGTH + 2)
        while len(rest) > MAX_LENGTH + 1 and not rest.endswith("\n"):
            rest = self._text.readline(MAX_LENGTH + 2)  # and forget it
        return line


def _rows(lines: _Lines) -> Iterator[Row]:
    try:
        header = [cell.strip().lower() for cell in lines.take_row()]
    except (csv.Error, StopIteration):
        header = []
    if not set(header) >= COLUMNS:
        raise InvalidValue("the first line", "does not name the columns name,email")
    while True:
        line = lines.number
        try:
            cells = dict(zip(header, lines.take_row(), strict=False))
        except StopIteration:
            return
        except csv.Error as error:
            yield line, str(error)
            continue
        if cells:
            yield line, cells if cells.keys() >= COLUMNS else "has too few cells"
