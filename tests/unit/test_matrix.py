"""The rule that says what runs on which event loop with which database."""

import pytest
from aftercommit_tests.crashing import CRASH_POINTS

from tests.matrix import ON_BOTH_LOOPS, ON_ONE_DATABASE, REPEATED, left_out

COMBINATIONS = ["asyncio-sqlite", "asyncio-postgres", "trio-sqlite", "trio-postgres"]
PAIRS = [{"asyncio-sqlite", "trio-postgres"}, {"asyncio-postgres", "trio-sqlite"}]
ELSEWHERE = "tests/integration/test_things.py::test_"
IN_A_PROCESS = "tests/e2e/test_things.py::test_"
KILLED = "packages/aftercommit/tests/aftercommit_tests/processes/test_crash_matrix.py::test_a"


def run(*tests: str) -> set[str]:
    return set(tests) - left_out(tests)


def in_all(test: str) -> list[str]:
    return [f"{test}[{combination}]" for combination in COMBINATIONS]


def combinations(*tests: str) -> set[str]:
    return {test.partition("[")[2].rstrip("]") for test in run(*tests)}


def test_in_one_process_each_test_runs_on_each_event_loop_once_and_on_each_database_once() -> None:
    """And each combination is there, in some test."""
    pairs = [combinations(*in_all(f"{ELSEWHERE}{n}")) for n in range(20)]

    assert [pair for pair in PAIRS if pair in pairs] == PAIRS
    assert [pair for pair in pairs if pair not in PAIRS] == []


def test_with_processes_each_test_runs_on_one_event_loop_with_one_database() -> None:
    """All four are there, too."""
    found = [combinations(*in_all(f"{IN_A_PROCESS}{n}")) for n in range(40)]

    assert {len(each) for each in found} == {1}
    assert set.union(*found) == set(COMBINATIONS)


@pytest.mark.parametrize("name", [ELSEWHERE, IN_A_PROCESS])
def test_without_a_database_a_test_runs_on_one_event_loop(name: str) -> None:
    """Which one differs from test to test."""
    found = [combinations(f"{name}{n}[asyncio-x]", f"{name}{n}[trio-x]") for n in range(20)]

    assert {len(each) for each in found} == {1}
    assert set.union(*found) == {"asyncio-x", "trio-x"}


def test_without_an_event_loop_a_test_runs_on_each_database() -> None:
    """They differ more than anything else."""
    assert len(run(f"{ELSEWHERE}a[sqlite]", f"{ELSEWHERE}a[postgres]")) == 2


def test_it_is_no_matter_which_of_the_two_is_named_first() -> None:
    """Pytest decides it."""
    turned = ["sqlite-asyncio", "postgres-asyncio", "sqlite-trio", "postgres-trio"]

    assert len(run(*(f"{ELSEWHERE}a[{each}]" for each in turned))) == 2


@pytest.mark.parametrize("file", ["integration/test_outbox_contract.py", "e2e/test_signals.py"])
def test_contracts_and_what_is_about_event_loops_run_in_full(file: str) -> None:
    """That is where a fake, a database or an event loop may differ from the others."""
    tests = in_all(f"tests/{file}::test_a")

    assert run(*tests) == set(tests)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("in the commit", {"sqlite-asyncio", "postgres-asyncio"}),
        ("after claiming", {"sqlite-asyncio", "postgres-asyncio", "sqlite-trio"}),
        ("before praise", set()),
    ],
)
def test_a_kill_is_the_same_on_each_event_loop(point: str, expected: set[str]) -> None:
    """So the other one has only the points that stand for others."""
    cells = [f"{d}-{loop}" for d in ("sqlite", "postgres") for loop in ("asyncio", "trio")]

    assert run(*(f"{KILLED}[{cell}-{point}]" for cell in cells)) == {
        f"{KILLED}[{cell}-{point}]" for cell in expected
    }


def test_where_no_transaction_is_open_a_kill_is_the_same_on_each_database() -> None:
    """Which one it is differs from test to test."""
    cells = [f"{d}-{loop}" for d in ("sqlite", "postgres") for loop in ("asyncio", "trio")]
    found = [run(*(f"{KILLED}[{cell}-{point}]" for cell in cells)) for point in ON_ONE_DATABASE]

    assert {len(each) for each in found} == {1}
    both = str(found)
    assert "[sqlite-asyncio-" in both
    assert "[postgres-asyncio-" in both
    assert "trio" not in both


def test_the_points_are_points() -> None:
    """A name that is none would choose nothing."""
    points = {
        point.removeprefix("kafka-") for point in (*ON_BOTH_LOOPS, *ON_ONE_DATABASE, *REPEATED)
    }

    assert points - CRASH_POINTS.keys() == set()


def test_who_runs_only_somewhere_runs_there() -> None:
    """A test that is asked for alone, too."""
    for combination in COMBINATIONS:
        for test in (ELSEWHERE, IN_A_PROCESS, KILLED):
            assert run(f"{test}[{combination}]") == {f"{test}[{combination}]"}
