"""Reading the rows of a CSV file, whatever is in it."""

import tracemalloc
import unicodedata
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pytest

from allocation.domain.events import UserId
from allocation.domain.values import MAX_DECOMPOSED, MAX_NAME_LENGTH
from allocation.user_import.model import ImportedRow, NobodyImported, RefusedRow, UserList
from allocation.user_import.users_csv import MAX_LENGTH, Row, read_rows

IVAN = {"name": "Иван", "email": "i@example.com"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "users.csv"


def seen(row: Row) -> tuple[int, str | dict[str, str]]:
    if isinstance(row, RefusedRow):
        return row.line, row.reason
    return row.line, {"name": row.name, "email": row.email}


def rows_of(file: Path, *lines: str, newline: str = "\n") -> list[tuple[int, str | dict[str, str]]]:
    """Write the lines after those of the header, and read the rows."""
    text = newline.join(["name,email", *lines, ""])
    file.write_text(text, encoding="utf-8", newline="")
    with read_rows(file, advance=lambda count: None) as rows:
        return [seen(row) for row in rows]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_rows_come_with_the_line_they_start_on(file: Path, newline: str) -> None:
    """A person who mends the file looks for them there, in an editor of any system."""
    rows = rows_of(file, 'a,"one\ntwo"', "", "Иван,i@example.com", newline=newline)

    assert rows == [(2, {"name": "a", "email": "one\ntwo"}), (5, IVAN)]


def test_a_quote_that_is_not_closed_costs_one_row(file: Path) -> None:
    """It used to swallow everything that followed."""
    rows = rows_of(file, '"Пётр,p@example.com', *["Иван,i@example.com"] * 3000)

    assert rows[0] == (2, "row is not valid CSV up to line 11: a quote is not closed")
    assert rows[1:] == [(line, IVAN) for line in range(3, 3003)]


def test_a_quote_is_not_closed_by_the_next_one_that_opens(file: Path) -> None:
    """Two rows in one would be imported under a name that nobody has."""
    rows = rows_of(file, '"Пётр,p@example.com', '"Иван",i@example.com')

    assert rows == [(2, rows[0][1]), (3, IVAN)]
    assert str(rows[0][1]).startswith("row is not valid CSV up to line 3: ")


@pytest.mark.parametrize("length", [MAX_LENGTH + 1, MAX_LENGTH + 2, MAX_LENGTH * 3])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_row_that_is_too_long_is_refused(file: Path, length: int, newline: str) -> None:
    """The rows around it are not."""
    rows = rows_of(file, "Иван,i@example.com", "x" * length, "Иван,i@example.com", newline=newline)

    reason = "row is not valid CSV up to line 3: it has more than 10000 characters"
    assert rows == [(2, IVAN), (3, reason), (4, IVAN)]


def test_combining_marks_are_refused_without_being_looked_at(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To normalize 64 kB of them takes seconds, so their length is asked first."""
    normalized: list[int] = []

    def counted(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
        normalized.append(len(text))
        return unicodedata.normalize(form, text)

    monkeypatch.setattr("allocation.domain.values.normalize", counted)
    marks = "\u0315\u0300" * 16_000  # 64 kB
    rows = rows_of(file, f"a{marks},i@example.com", f"a{marks[:9000]},i@example.com")
    (_, reason), (line, cells) = rows
    assert reason == "row is not valid CSV up to line 2: it has more than 10000 characters"
    assert isinstance(cells, dict)

    row = ImportedRow(line=line, user_id=UserId(uuid4()), **cells)
    listed = UserList([row])

    with pytest.raises(NobodyImported) as refused:
        listed.register({})
    assert [row.line for row in refused.value.refused] == [3]
    assert max(normalized, default=0) <= MAX_DECOMPOSED * MAX_NAME_LENGTH


def test_a_row_as_long_as_is_allowed_is_read(file: Path) -> None:
    """The limit is where it is said to be."""
    name = "x" * (MAX_LENGTH - len(",i@example.com"))

    assert rows_of(file, f"{name},i@example.com") == [(2, IVAN | {"name": name})]


def test_a_file_without_a_line_break_is_read_in_constant_memory(file: Path) -> None:
    """It is the wrong file, and may be of any size."""
    with file.open("w") as written:
        written.write("name,email\n")
        written.writelines("x" * 1_000_000 for _ in range(30))
    sizes: list[int] = []

    tracemalloc.start()
    with read_rows(file, advance=sizes.append) as rows:
        [row] = rows
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (row.line, sum(sizes)) == (2, file.stat().st_size)
    assert "more than 10000 characters" in str(row)
    assert peak < 1_000_000
