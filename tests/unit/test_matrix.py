"""The rule that says what runs on which event loop with which database."""

from tests.matrix import beyond_pairs

COMBINATIONS = ["asyncio-sqlite", "asyncio-postgres", "trio-sqlite", "trio-postgres"]
PAIRS = [{"asyncio-sqlite", "trio-postgres"}, {"asyncio-postgres", "trio-sqlite"}]


def run(*tests: str) -> set[str]:
    return set(tests) - beyond_pairs(tests)


def in_all(test: str) -> list[str]:
    return [f"{test}[{combination}]" for combination in COMBINATIONS]


def test_elsewhere_each_test_runs_on_each_event_loop_once_and_on_each_database_once() -> None:
    """And each combination is there, in some test."""
    found = [run(*in_all(f"tests/test_users.py::test_{n}")) for n in range(20)]

    pairs = [{test.partition("[")[2].rstrip("]") for test in left} for left in found]
    assert [pair for pair in PAIRS if pair in pairs] == PAIRS
    assert [pair for pair in pairs if pair not in PAIRS] == []


def test_it_is_no_matter_which_of_the_two_is_named_first() -> None:
    """Pytest decides it."""
    turned = ["sqlite-asyncio", "postgres-asyncio", "sqlite-trio", "postgres-trio"]

    assert len(run(*(f"tests/test_users.py::test_a[{each}]" for each in turned))) == 2


def test_contracts_and_the_crash_matrix_run_in_full() -> None:
    """That is where a fake, a database or an event loop may differ from the others."""
    for name in ("tests/test_outbox_contract.py::test_a", "tests/e2e/test_crash_matrix.py::test_a"):
        assert run(*in_all(name)) == set(in_all(name))


def test_who_runs_only_somewhere_runs_there() -> None:
    """A test that is asked for alone, too."""
    for combination in COMBINATIONS:
        test = f"tests/test_users.py::test_a[{combination}]"
        assert run(test) == {test}
