"""Event loop × database: a marker at the test says in which combinations it runs.

    @pytest.mark.on("asyncio-postgres", "trio-sqlite")   in these, whatever else there is
    @pytest.mark.everywhere                              in all: contracts, what is about loops

Without a marker it is `on("asyncio-sqlite", "trio-postgres")`: each event loop once, and each
database once. The closest marker counts: of the value, of the test, of the module. `--in-full` runs
all there are, and so does who names a test with its values.

A combination says nothing about what a test has no choice of: one without a database looks at the
event loops alone.
"""

from collections.abc import Sequence

import pytest

CHOICES = (
    {"asyncio", "trio"},
    {"sqlite", "postgres"},
    {"asyncpg", "psycopg", "anyio"},  # drivers of PostgreSQL; the last is for both event loops
    {"rabbitmq", "kafka"},
)
KNOWN = set().union(*CHOICES)
CHOOSING = (  # the fixtures that are parametrized by them
    "anyio_backend",
    "backend",
    "place",
    "database_url",
    "empty_url",
    "url",
    "on_each",
    "each_settings",
    "outside",
    "proxied",
)
EVERYWHERE = "everywhere"
UNLESS_MARKED = pytest.mark.on("asyncio-sqlite", "trio-postgres").mark
MARKERS = [
    "on(*combinations): run in these combinations of event loop, database, driver and broker",
    "everywhere: run on each event loop with each database",
]


def left_out(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the items whose markers leave them to `--in-full`.

    :raises pytest.UsageError: if a marker names what is none, or a test would never run
    """
    runs, left = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        (runs if _runs(item) else left).append(item)
    if never := {_function(item) for item in left} - {_function(item) for item in runs}:
        raise pytest.UsageError(f"markers leave out all combinations of {sorted(never)}")
    return left


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _runs(item: pytest.Item) -> bool:
    found = (each for each in item.iter_markers() if each.name in (EVERYWHERE, UNLESS_MARKED.name))
    marker = next(found, UNLESS_MARKED)
    return marker.name == EVERYWHERE or is_among(marker.args, _place(item))


def is_among(combinations: Sequence[str], place: set[str]) -> bool:
    """Return whether what a test was given is in one of these combinations.

    :raises pytest.UsageError: if one of them names what nobody has a choice of
    """
    named = [{*combination.split("-")} for combination in combinations]
    if unknown := set().union(*named) - KNOWN:
        raise pytest.UsageError(f"on{combinations}: {sorted(unknown)} is none of {sorted(KNOWN)}")
    return any(
        all(place & choice <= each or not each & choice for choice in CHOICES) for each in named
    )


def _place(item: pytest.Item) -> set[str]:
    """Return the event loop, database, driver and broker that a test is parametrized with."""
    callspec = getattr(item, "callspec", None)
    given = (
        [callspec.params[name] for name in CHOOSING if name in callspec.params] if callspec else ()
    )
    parts = (part for value in given for part in (value if type(value) is tuple else (value,)))
    return {part for part in parts if isinstance(part, str) and part in KNOWN}
