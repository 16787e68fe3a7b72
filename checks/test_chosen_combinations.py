"""Markers at the tests say what runs where; `--in-full` runs all. And what begins when."""

from itertools import pairwise

import pytest
from aftercommit_tests.combinations import UNLESS_MARKED, is_among
from aftercommit_tests.running_order import in_order

EACH = ("asyncio-sqlite", "asyncio-postgres", "trio-sqlite", "trio-postgres")


def chosen(combinations: tuple[str, ...], *places: str) -> list[str]:
    """Return in which of these places a test with this marker runs."""
    return [each for each in places if is_among(combinations, {*each.split("-")})]


def test_without_a_marker_a_test_runs_on_each_event_loop_once_and_on_each_database_once() -> None:
    """Also if it has no choice of the other."""
    assert chosen(UNLESS_MARKED.args, *EACH) == ["asyncio-sqlite", "trio-postgres"]
    assert chosen(UNLESS_MARKED.args, "asyncio", "trio") == ["asyncio", "trio"]
    assert chosen(UNLESS_MARKED.args, "sqlite", "postgres") == ["sqlite", "postgres"]


@pytest.mark.parametrize(
    ("marker", "places", "runs"),
    [
        ("trio-sqlite", EACH, ["trio-sqlite"]),
        ("trio", EACH, ["trio-sqlite", "trio-postgres"]),
        ("trio-postgres", ("asyncio", "trio"), ["trio"]),
        ("trio-postgres", ("rabbitmq", "kafka"), ["rabbitmq", "kafka"]),
        ("rabbitmq", ("asyncio-rabbitmq", "asyncio-kafka"), ["asyncio-rabbitmq"]),
        ("asyncio-asyncpg", ("asyncio-asyncpg", "asyncio-anyio"), ["asyncio-asyncpg"]),
    ],
)
def test_a_marker_names_where_a_test_runs(
    marker: str, places: tuple[str, ...], runs: list[str]
) -> None:
    """What it does not name, and what the test has no choice of, does not matter."""
    assert chosen((marker,), *places) == runs


def test_a_marker_that_names_what_is_none_is_refused() -> None:
    """It would choose nothing."""
    with pytest.raises(pytest.UsageError, match=r"\['mysql'\] is none of"):
        is_among(["trio-mysql"], {"trio"})


def test_what_waits_begins_early_and_among_what_computes() -> None:
    """Else several processes wait at once, or all of them for the last."""
    short = [f"tests/unit/test_things.py::test_{n}" for n in range(80)]
    long = [f"tests/e2e/test_{file}.py::test_{n}" for file in "ab" for n in range(10)]

    order = in_order([*short, *long])

    assert sorted(order) == sorted([*short, *long])
    places = [order.index(test) for test in long]
    assert max(places) < 0.9 * len(order)
    for of_one_file in (places[:10], places[10:]):
        assert min(b - a for a, b in pairwise(of_one_file)) > 5
