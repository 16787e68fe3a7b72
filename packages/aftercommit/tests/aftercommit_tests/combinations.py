"""What runs in `make test`, and what in the rest of `make check`: markers at the tests say so.

    @pytest.mark.check   in the rest: it needs servers, real processes or much time
    @pytest.mark.on("asyncio-postgres", "trio-sqlite")   on these event loops and databases
    @pytest.mark.everywhere   on each event loop with each database: contracts, what is about loops

Without `on` or `everywhere`, a test is `on("asyncio-sqlite", "trio-postgres")`: on each event loop
once, and on each database once. The closest marker counts: of the value, of the test, of the
module.

In `make test`, a test that is not marked runs on asyncio and SQLite. One that is marked runs in
those of its combinations that carry the proof: asyncio with SQLite, asyncio with asyncpg, and Trio
with the dialects for both event loops. Its other combinations are in the rest of `make check`.
`--in-full` runs all there are, and so does who names a test with its values.

A combination says nothing about what a test has no choice of: one without a database looks at the
event loops alone.
"""

from collections.abc import Sequence
from typing import Literal

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
Tier = Literal["test", "check"]
EVERYWHERE = "everywhere"
UNLESS_MARKED = pytest.mark.on("asyncio-sqlite", "trio-postgres").mark
SERVERS = {"rabbitmq_url", "kafka", "outside", "browser", "servers"}
"""The fixtures of what `make test` does without: brokers, a browser, a primary and its standby."""
CARRY_THE_PROOF = ("asyncio-sqlite", "asyncio-postgres-asyncpg", "trio-sqlite-anyio")
FIRST_UNLESS_MARKED = CARRY_THE_PROOF[:1]
MARKERS = [
    "on(*combinations): run in these combinations of event loop, database, driver and broker",
    "everywhere: run on each event loop with each database",
    "check: run by `make check`, and not by `make test`",
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


def tier(item: pytest.Item) -> Tier:
    """Return the one tier in which a test runs with what it is given.

    :raises pytest.UsageError: if its marker names what is none, or it needs a server unmarked
    """
    if item.get_closest_marker("check"):
        return "check"
    if needed := SERVERS & {*getattr(item, "fixturenames", ())}:
        raise pytest.UsageError(f"{item.nodeid} needs {sorted(needed)}: mark it with `check`")
    marker = _combinations(item)
    first = FIRST_UNLESS_MARKED if marker is UNLESS_MARKED else CARRY_THE_PROOF
    return "test" if is_among(first, _place(item)) else "check"


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _runs(item: pytest.Item) -> bool:
    marker = _combinations(item)
    return marker.name == EVERYWHERE or is_among(marker.args, _place(item))


def _combinations(item: pytest.Item) -> pytest.Mark:
    found = (each for each in item.iter_markers() if each.name in (EVERYWHERE, UNLESS_MARKED.name))
    return next(found, UNLESS_MARKED)


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
