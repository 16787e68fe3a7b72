# room: postgresql
"""Measures a long history on PostgreSQL: see `flat_growth.py`."""

from collections.abc import Iterator
from functools import cache, partial

import anyio

from benchmarks.flat_growth import Figures, compare, growing
from benchmarks.measuring import Contest, Effort
from benchmarks.results import Topic
from benchmarks.servers import new_database


@cache
def on_postgresql(rows: int, repeats: int) -> Figures:
    """Compare two databases."""
    with new_database() as few, new_database() as many:
        return anyio.run(partial(compare, few, many, rows=rows, repeats=repeats))


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield what is measured on PostgreSQL."""
    yield from growing("PostgreSQL", on_postgresql, effort)


TOPIC = Topic(
    name="growth_postgresql",
    title="A long history on PostgreSQL",
    meaning="The same on a server, after VACUUM and ANALYZE.",
    contests=contests,
)
