"""The table of what ran where: event loop × database, for each layer of the pyramid."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

LAYERS = ("unit", "integration", "sqlalchemy_anyio", "e2e")
BACKENDS = ("asyncio", "trio")
DATABASES = ("fake", "sqlite", "postgres")
USUAL_DATABASE = {"unit": "fake", **dict.fromkeys(LAYERS[1:], "sqlite")}

Cell = tuple[str, str, str, str]


def table(outcomes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of the table, from the ids of tests and what came of them.

    Tests that run on no event loop are not counted.
    """
    counts = Counter(cell for test, outcome in outcomes for cell in _cells(test, outcome))
    yield f"{'':18}{'':9}" + "".join(f"{database:>20}" for database in DATABASES)
    for layer in LAYERS:
        for backend in BACKENDS:
            shown = [_show(counts, (layer, backend, database)) for database in DATABASES]
            yield f"{layer:18}{backend:9}" + "".join(f"{text:>20}" for text in shown)


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
