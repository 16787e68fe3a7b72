"""What docs/price.md says that all this costs, as far as it can be counted."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks import guarantees
from benchmarks.price import costs, table
from benchmarks.ways import WAYS, Way, tried
from tests.measured import PRICE, measured


def test_a_registration_costs_what_the_page_says(tmp_path: Path) -> None:
    """Lines, statements and commits. If they have to change: python -m benchmarks.price."""
    counted = _without_time(table(costs(tmp_path, times=1)))

    assert len(counted) > 4
    assert counted == _without_time(measured("price", PRICE))


def test_a_guarantee_alone_costs_what_the_page_says(tmp_path: Path) -> None:
    """Statements, rows and commits."""
    counted = _without_time(guarantees.table(tmp_path, times=1))

    assert len(counted) > 4
    assert counted == _without_time(measured("alone", PRICE))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.file)
def test_a_way_has_as_many_lines_as_the_page_says(way: Way) -> None:
    """They are counted in the file that the page leads to."""
    (row,) = (line for line in measured("ways", PRICE) if f"(price/{way.file}.py)" in line)

    assert row.split("|")[2].strip() == str(way.lines)


@pytest.mark.parametrize("way", [way for way in WAYS if not way.needs], ids=lambda way: way.file)
def test_a_way_asks_for_what_the_page_says(way: Way, tmp_path: Path) -> None:
    """Statements and commits of those that need nothing else."""
    found = tried(way, tmp_path, "3")

    (row,) = (line for line in measured("ways", PRICE) if f"(price/{way.file}.py)" in line)
    counted = [str(found["statements"]), str(found["commits"])]
    assert [cell.strip() for cell in row.split("|")[3:5]] == counted


def _without_time(lines: Iterable[str]) -> list[list[str]]:
    return [line.split("|")[:-2] for line in lines if line.startswith("|")]
