"""The rows of a CSV file: whatever is in it, each row stands or falls alone."""

import tracemalloc
from pathlib import Path

import pytest

from aftercommit_tests.inside.operations import MAX_LENGTH, read_rows

COLUMNS = ["name", "email"]
Seen = tuple[int, str | dict[str, str]]
IVAN = {"name": "Иван", "email": "i@example.com"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "users.csv"


def rows_of(file: Path, *lines: str, newline: str = "\n") -> list[Seen]:
    """Write lines after the header, and return the cells of each row, or why there are none."""
    text = newline.join(["name,email", *lines, ""])
    file.write_text(text, encoding="utf-8", newline="")
    with read_rows(file, COLUMNS, advance=lambda count: None) as rows:
        return [(row.line, row.problem or {**row.cells}) for row in rows]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_rows_come_with_the_line_on_which_they_start(file: Path, newline: str) -> None:
    """An operator who fixes the file looks for them there, in an editor of any system."""
    rows = rows_of(file, 'a,"one\ntwo"', "", "Иван,i@example.com", newline=newline)

    assert rows == [(2, {"name": "a", "email": "one\ntwo"}), (5, IVAN)]


def test_a_quote_that_is_not_closed_costs_one_row(file: Path) -> None:
    """It used to swallow everything that followed."""
    rows = rows_of(file, '"Пётр,p@example.com', *["Иван,i@example.com"] * 3000)

    assert rows[0] == (2, "row is not valid CSV up to line 11: a quote is not closed")
    assert rows[1:] == [(line, IVAN) for line in range(3, 3003)]


def test_a_quote_is_not_closed_by_the_next_one_that_opens(file: Path) -> None:
    """Two rows in one would be imported under a name that nobody has."""
    [refused, read] = rows_of(file, '"Пётр,p@example.com', '"Иван",i@example.com')

    assert str(refused[1]).startswith("row is not valid CSV up to line 3: ")
    assert (refused[0], read) == (2, (3, IVAN))


@pytest.mark.parametrize("length", [MAX_LENGTH + 1, MAX_LENGTH + 2, MAX_LENGTH * 3])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_row_that_is_too_long_is_refused_alone(file: Path, length: int, newline: str) -> None:
    """The longest that is allowed is read, as the rows around it are."""
    longest = "x" * (MAX_LENGTH - len(",i@example.com"))

    rows = rows_of(
        file, f"{longest},i@example.com", "x" * length, "Иван,i@example.com", newline=newline
    )

    reason = "row is not valid CSV up to line 3: the row has more than 10000 characters"
    assert rows == [(2, IVAN | {"name": longest}), (3, reason), (4, IVAN)]


def test_a_file_without_a_line_break_is_read_in_constant_memory(file: Path) -> None:
    """It is the wrong file, and may be of any size."""
    with file.open("w") as written:
        written.write("name,email\n")
        written.writelines("x" * 1_000_000 for _ in range(30))
    sizes: list[int] = []

    tracemalloc.start()
    with read_rows(file, COLUMNS, advance=sizes.append) as rows:
        [row] = rows
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (row.line, sum(sizes)) == (2, file.stat().st_size)
    assert "more than 10000 characters" in str(row)
    assert peak < 1_000_000
