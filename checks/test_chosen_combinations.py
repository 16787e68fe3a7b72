"""The rule that says what runs on which event loop with which database; `--in-full` runs all."""

from itertools import pairwise

import pytest
from aftercommit_tests.crashing import CRASH_POINTS
from aftercommit_tests.matrix import ON_BOTH_LOOPS, REPEATED, in_order, left_out

COMBINATIONS = ["asyncio-sqlite", "asyncio-postgres", "trio-sqlite", "trio-postgres"]
PAIRS = [{"asyncio-sqlite", "trio-postgres"}, {"asyncio-postgres", "trio-sqlite"}]
ELSEWHERE = "tests/integration/test_things.py::test_"
IN_A_PROCESS = "tests/e2e/test_things.py::test_"
KILLED = "packages/aftercommit/tests/aftercommit_tests/processes/test_crash_matrix.py::test_a"


def chosen(test: str, *combinations: str) -> set[str]:
    """Return in which of these combinations the test runs."""
    tests = {f"{test}[{combination}]": combination for combination in combinations}
    return {tests[name] for name in tests.keys() - left_out(tests)}


def test_in_one_process_each_test_runs_on_each_event_loop_once_and_on_each_database_once() -> None:
    """And each combination is there, in some test."""
    pairs = [chosen(f"{ELSEWHERE}{n}", *COMBINATIONS) for n in range(20)]

    assert [pair for pair in PAIRS if pair in pairs] == PAIRS
    assert [pair for pair in pairs if pair not in PAIRS] == []
    assert chosen(f"{ELSEWHERE}a", "sqlite", "postgres") == {"sqlite", "postgres"}


@pytest.mark.parametrize(
    ("name", "combinations"),
    [(IN_A_PROCESS, COMBINATIONS), (ELSEWHERE, ["asyncio-x", "trio-x"])],
)
def test_with_processes_or_without_a_database_a_test_runs_once(
    name: str, combinations: list[str]
) -> None:
    """Which one it is differs from test to test."""
    found = [chosen(f"{name}{n}", *combinations) for n in range(40)]

    assert {len(each) for each in found} == {1}
    assert set.union(*found) == set(combinations)


@pytest.mark.parametrize("file", ["integration/test_outbox_contract.py", "e2e/test_signals.py"])
def test_contracts_and_what_is_about_event_loops_run_in_full(file: str) -> None:
    """That is where a database or an event loop may differ from the others."""
    assert chosen(f"tests/{file}::test_a", *COMBINATIONS) == set(COMBINATIONS)


def test_each_driver_of_postgresql_runs_on_one_event_loop_or_where_it_matters_on_both() -> None:
    """What locks a row is SQL; who waits for a connection is the event loop's matter, too."""
    places = ["asyncio-asyncpg", "asyncio-anyio", "trio-anyio"]
    folder = "packages/aftercommit/tests/aftercommit_tests/extensions/postgresql"

    assert chosen(f"{folder}/test_lanes.py::test_a", *places) == {places[0], places[2]}
    assert chosen(f"{folder}/test_time_limits.py::test_a", *places) == {*places}


def test_each_point_of_a_kill_runs_somewhere_and_those_named_by_the_rule_are_points() -> None:
    """A name that is none would choose nothing."""
    cells = [f"{database}-{loop}" for loop, database in (each.split("-") for each in COMBINATIONS)]
    named = (*ON_BOTH_LOOPS, *REPEATED)
    left = [
        point
        for point in CRASH_POINTS.keys() - {*REPEATED}
        if not chosen(KILLED, *(f"{cell}-{point}" for cell in cells))
    ]

    assert {point.removeprefix("kafka-") for point in named} - CRASH_POINTS.keys() == set()
    assert left == []


def test_who_is_asked_for_alone_runs() -> None:
    """Also in the combination, and at the point, that the rule would leave out."""
    for combination in (*COMBINATIONS, f"sqlite-asyncio-{REPEATED[0]}"):
        for test in (ELSEWHERE, IN_A_PROCESS, KILLED):
            assert chosen(test, combination) == {combination}


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
