"""Writes the parts of the documentation that are made from the code.

    python -m tests.generated

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. A test fails when it differs
from what the code says. In the Russian pages, it is all that the English ones show.
"""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from textwrap import wrap

import allocation
from allocation.domain.exceptions import AllocationError
from allocation.entrypoints.cli.exit_codes import exit_code
from benchmarks import page, results
from tests import capacity, import_graph, places, settings_table, shape, wiring_map
from tests.translations import in_step, original

ROOT = Path(__file__).parents[1]
PAGES = [page for folder in ("", "docs/**/", "src/**/") for page in ROOT.glob(f"{folder}*.md")]

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def errors() -> Iterator[str]:
    """Yield a table of all errors: the promise of each kind, for people and for machines."""
    yield "| error | slug | time heals it: | exit code | what it says |"
    yield "|---|---|---|---|---|"
    for error in all_errors():
        heals = "yes: retried" if error.heals else "no: parked, or a dead letter"
        what = str(error.__doc__).partition("\n")[0]
        depth = "– " * (len(error.__mro__) - len(AllocationError.__mro__) - 1)
        code = exit_code(error.__new__(error))
        yield f"| {depth}`{error.__name__}` | `{error.slug}` | {heals} | {code} | {what} |"


def all_errors() -> list[type[AllocationError]]:
    """Return every error of the application, parents before their children."""
    for module in walk_packages(allocation.__path__, "allocation."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
    return list(_tree(AllocationError))


def _tree(error: type[AllocationError]) -> Iterator[type[AllocationError]]:
    by_module = sorted(error.__subclasses__(), key=_module)  # not by who was imported first
    for child in by_module:
        if child.__module__.startswith("allocation."):
            yield child
            yield from _tree(child)


def _module(error: type[AllocationError]) -> tuple[bool, str]:
    return error.__module__ != AllocationError.__module__, error.__module__


PATH = {  # in reading order
    "domain/events.py": "the facts that others react to",
    "service_layer/handlers.py": "a function for each, and the tables of what handles what",
    "service_layer/unit_of_work.py": "one transaction: state, events and deliveries, or none",
    "adapters/unit_of_work.py": "the same in a database",
    "service_layer/delivery.py": "what a handler still owes to an event, and what comes next",
    "service_layer/messagebus.py": "runs a command's handler, and fans events out to theirs",
    "adapters/outbox.py": "the deliveries in a database: claimed, settled, tried again, parked",
    "entrypoints/worker.py": "does what others left undone",
}


def path() -> Iterator[str]:
    """Yield the files to read first, in order, with their lines."""
    yield "| | file | lines | |"
    yield "|---|---|---|---|"
    total = 0
    for number, (name, what) in enumerate(PATH.items(), start=1):
        lines = len((ROOT / "src" / "allocation" / name).read_text().splitlines())
        total += lines
        yield f"| {number} | [{name}](src/allocation/{name}) | {lines} | {what} |"
    yield f"| | | {total} | |"


def concepts() -> Iterator[str]:
    """Yield what has to be known of the core: its words and its lines."""
    core, *_ = (ROOT / "docs" / "glossary.md").read_text().partition("<!-- room: ")
    words = len(re.findall(r"^\| (?!term )[^|]+ \|[^|]+\|[^|]+\| \S", core, re.MULTILINE))
    yield from wrap(
        f"The core has {shape.core_lines():,} lines, and the [glossary](glossary.md) explains "
        f"{words} words for it.",
        width=100,
    )


def queues() -> Iterator[str]:
    """Yield how many jobs a second others do, as the last benchmarks have found."""
    yield "| what | in a second | ours ÷ it |"
    yield "|---|---|---|"
    rows = results.read()["worker"].rows
    for what, ours in {row.what: row.ours for row in rows}.items():
        yield f"| this application: {what} | {page.figure(ours)} | 1 |"
        for row in (row for row in rows if row.what == what and row.theirs and row.ratio):
            ratio = page.figure(row.ratio)
            yield f"| {row.other}: the same | {page.figure(row.theirs)} | {ratio} |"


GENERATED: dict[str, Callable[[], Iterator[str]]] = {
    "capacity": capacity.capacity,
    "concepts": concepts,
    "errors": errors,
    "figures": shape.figures,
    "layers": import_graph.layers,
    "modules": import_graph.inside_layers,
    "path": path,
    "places": places.places,
    "performance": page.performance,
    "queues": queues,
    "settings": settings_table.settings,
    "wiring": wiring_map.picture,
    "promises": wiring_map.table,
}


def brought_up_to_date(page: Path) -> str:
    """Return a page with its generated parts as they have to be; a translated one, with all parts.

    What those are, the page in English says.
    """
    if english := original(page):
        return in_step(page.read_text(), brought_up_to_date(english))
    text = page.read_text()
    return PART.sub(lambda m: f"{m[1]}" + "\n".join(GENERATED[m[2]]()) + f"\n{m[3]}", text)


def write() -> None:
    """Write what differs into the pages."""
    for each in PAGES:
        if (new := brought_up_to_date(each)) != each.read_text():
            each.write_text(new)
            print(f"written: {each.relative_to(ROOT)}")  # noqa: T201


if __name__ == "__main__":
    write()
