"""The rule that says what runs on which event loop with which database."""

import pytest
from aftercommit_tests.crashing import CRASH_POINTS
from aftercommit_tests.matrix import ON_BOTH_LOOPS, ON_ONE_DATABASE, REPEATED, left_out

COMBINATIONS = ["asyncio-sqlite", "asyncio-postgres", "trio-sqlite", "trio-postgres"]
PAIRS = [{"asyncio-sqlite", "trio-postgres"}, {"asyncio-postgres", "trio-sqlite"}]
ELSEWHERE = "tests/integration/test_things.py::test_"
IN_A_PROCESS = "tests/e2e/test_things.py::test_"
OF_THE_PROJECT = "tests/project/playground/test_things.py::test_"
KILLED = "packages/aftercommit/tests/aftercommit_tests/processes/test_crash_matrix.py::test_a"
CELLS = [
    f"{database}-{loop}" for database in ("sqlite", "postgres") for loop in ("asyncio", "trio")
]


def chosen(test: str, *combinations: str) -> set[str]:
    """Return in which of these combinations the test runs."""
    tests = {f"{test}[{combination}]": combination for combination in combinations}
    return {tests[name] for name in tests.keys() - left_out(tests)}


def test_in_one_process_each_test_runs_on_each_event_loop_once_and_on_each_database_once() -> None:
    """And each combination is there, in some test; pytest decides which of the two is first."""
    pairs = [chosen(f"{ELSEWHERE}{n}", *COMBINATIONS) for n in range(20)]

    assert [pair for pair in PAIRS if pair in pairs] == PAIRS
    assert [pair for pair in pairs if pair not in PAIRS] == []
    assert len(chosen(f"{ELSEWHERE}a", *CELLS)) == 2
    assert chosen(f"{ELSEWHERE}a", "sqlite", "postgres") == {"sqlite", "postgres"}


@pytest.mark.parametrize(
    ("name", "combinations"),
    [
        (IN_A_PROCESS, COMBINATIONS),
        (OF_THE_PROJECT, COMBINATIONS),
        (ELSEWHERE, ["asyncio-x", "trio-x"]),
        (IN_A_PROCESS, ["asyncio-x", "trio-x"]),
    ],
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
    """That is where a fake, a database or an event loop may differ from the others."""
    assert chosen(f"tests/{file}::test_a", *COMBINATIONS) == set(COMBINATIONS)


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
    cells = chosen(KILLED, *(f"{cell}-{point}" for cell in CELLS))

    assert cells == {f"{cell}-{point}" for cell in expected}


def test_where_no_transaction_is_open_a_kill_is_the_same_on_each_database() -> None:
    """Which one it is differs from test to test."""
    found = [
        chosen(KILLED, *(f"{cell}-{point}" for cell in CELLS)) for point in sorted(ON_ONE_DATABASE)
    ]

    assert {len(each) for each in found} == {1}
    begun = {each.split("-")[0] for cells in found for each in cells}
    assert begun == {"sqlite", "postgres"}
    assert "trio" not in str(found)


def test_the_points_are_points() -> None:
    """A name that is none would choose nothing."""
    named = (*ON_BOTH_LOOPS, *ON_ONE_DATABASE, *REPEATED)

    assert {point.removeprefix("kafka-") for point in named} - CRASH_POINTS.keys() == set()


def test_who_is_asked_for_alone_runs() -> None:
    """Also in the combination, and at the point, that the rule would leave out."""
    for combination in COMBINATIONS:
        for test in (ELSEWHERE, IN_A_PROCESS, KILLED):
            assert chosen(test, combination) == {combination}
    repeated = f"sqlite-asyncio-{REPEATED[0]}"
    assert chosen(KILLED, repeated) == {repeated}
