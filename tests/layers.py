"""How many tests each layer has, and how long they take: parts of docs/testing.md.

    make test RECORD=1

The run writes them at its end. A test compares the counts with what is collected.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import pytest

from tests.measured import TESTING, measured, write

ROW = re.compile(r"\| `tests/(\w+)` \| (\d+) \| (\d+) \|")


def layer_of(test: str) -> str:
    """Return the folder in `tests` that a test is in, from its id."""
    return test.split("/")[1]


def record(reports: Iterable[pytest.TestReport]) -> None:
    """Write the table, if this run was asked to."""
    if os.environ.get("RECORD"):
        write("layers", _table(list(reports)), TESTING)


def recorded() -> dict[str, int]:
    """Return how many tests each layer had when the table was written."""
    found = (ROW.fullmatch(line) for line in measured("layers", TESTING))
    return {row[1]: int(row[2]) for row in found if row}


def _table(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        counts[layer_of(report.nodeid)] += report.when == "call"
        seconds[layer_of(report.nodeid)] += report.duration
    yield "| layer | tests | seconds |"
    yield "|---|---|---|"
    for layer in counts:
        yield f"| `tests/{layer}` | {counts[layer]} | {seconds[layer]:.0f} |"
