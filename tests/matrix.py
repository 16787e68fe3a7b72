"""Event loop × database: the rule that says what runs where, and the table of what ran where.

Contract suites and the crash matrix run in full: on each event loop with each database. Any other
test runs by pairs: on each event loop, and on each database, but not on both with both. So of four
combinations two remain, and which two they are alternates from test to test. A test in a browser,
which takes seconds to start, runs on one.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from zlib import crc32

LAYERS = ("unit", "integration", "sqlalchemy_anyio", "e2e")
BACKENDS = ("asyncio", "trio")
DATABASES = ("fake", "sqlite", "postgres")
USUAL_DATABASE = {"unit": "fake", **dict.fromkeys(LAYERS[1:], "sqlite")}

IN_FULL = ("_contract", "crash_matrix")  # so their files are named
IN_ONE = ("tests/e2e/page/",)
COMBINATION = re.compile(
    r"(asyncio|trio)-[a-z_]*(sqlite|postgres)[a-z_]*|(sqlite|postgres)-(asyncio|trio)"
)
COMBINATIONS = 4
PAIRED = ({"asyncio", "sqlite"}, {"trio", "postgres"})  # or the other two

Cell = tuple[str, str, str, str]


def beyond_pairs(tests: Iterable[str]) -> set[str]:
    """Return those of the tests that do not run, by the rule above."""
    combined = defaultdict(list)
    for test in tests:
        if COMBINATION.search(test) and not any(name in test for name in IN_FULL):
            combined[COMBINATION.sub("", test)].append(test)
    return {
        test
        for name, group in combined.items()
        if len(group) == COMBINATIONS
        for test in group
        if test not in _chosen(name, group)
    }


def _chosen(name: str, group: Iterable[str]) -> set[str]:
    number = crc32(name.encode())
    if any(part in name for part in IN_ONE):
        return {sorted(group)[number % COMBINATIONS]}
    return {test for test in group if _is_paired(test) == bool(number % 2)}


def _is_paired(test: str) -> bool:
    combination = COMBINATION.search(test)
    return combination is not None and {*filter(None, combination.groups())} in PAIRED


def table(outcomes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of the table, from the ids of tests and what came of them.

    Tests that run on no event loop are not counted.
    """
    counts = Counter(cell for test, outcome in outcomes for cell in _cells(test, outcome))
    yield f"{'':18}{'':9}" + "".join(f"{database:>22}" for database in DATABASES)
    for layer in LAYERS:
        for backend in BACKENDS:
            shown = [_show(counts, (layer, backend, database)) for database in DATABASES]
            yield f"{layer:18}{backend:9}" + "".join(f"{text:>22}" for text in shown)


def _cells(test: str, outcome: str) -> Iterator[Cell]:
    layer = test.split("/")[1]
    words = set(re.findall(r"[a-z]+", test.partition("[")[2]))
    if "/postgresql/" in test:
        words.add("postgres")
    database = next((name for name in DATABASES if name in words), USUAL_DATABASE.get(layer))
    for backend in BACKENDS:
        if backend in words and database:
            yield layer, backend, database, outcome


def _show(counts: Counter[Cell], cell: tuple[str, str, str]) -> str:
    passed, failed = (counts[*cell, outcome] for outcome in ("passed", "failed"))
    text = f"{passed} passed" if passed else "-"
    return f"{failed} FAILED, {text}" if failed else text
