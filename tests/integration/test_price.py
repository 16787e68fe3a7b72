"""What README says a registration costs, as far as it can be counted."""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.price import costs, table
from tests.measured import measured


def test_a_registration_costs_what_the_readme_says(tmp_path: Path) -> None:
    """Lines, statements and commits. If they have to change: python -m benchmarks.price."""
    counted = _without_time(table(costs(tmp_path, times=1)))

    assert len(counted) > 4
    assert counted == _without_time(measured("price"))


def _without_time(lines: Iterable[str]) -> list[list[str]]:
    return [line.split("|")[:-2] for line in lines if line.startswith("|")]
