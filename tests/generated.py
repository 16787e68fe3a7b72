"""Writes the parts of the documentation that are made from the code.

    python -m tests.generated

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. A test fails when it differs
from what the code says. In the Russian pages, it is all that the English ones show.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from textwrap import wrap

import allocation
from allocation.domain.error_kinds import AllocationError
from allocation.extensions.web.problems import status_of
from allocation.process.error_handling import exit_code
from benchmarks import page, results
from tests import (
    capacity,
    import_graph,
    places,
    settings_table,
    shape,
    wiring_map,
)
from tests.measured import PRICE, measured
from tests.translations import in_step, original

ROOT = Path(__file__).parents[1]
PAGES = [page for folder in ("", "docs/**/", "src/**/") for page in ROOT.glob(f"{folder}*.md")]

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


FOR_CALLERS = tuple(
    f"allocation.extensions.{name}." for name in ("web", "page", "operations", "metrics")
)
"""Extensions whose errors answer a caller, and never end an attempt of a delivery."""
NO_FAILURES = {
    "DeliverySuperseded",
    "MessageAlreadyHandled",
    "SchemaOfAnother",
    "SchemaOutdated",
    "SchemaTooNew",
    "WiringError",
}
"""Errors that end an attempt without a failure, or the program before the first one."""


def errors() -> Iterator[str]:
    """Yield a table of all errors: the promise of each kind, for people and for machines."""
    headings = ["error", "slug", "delivery or message", "exit code", "HTTP status", "meaning"]
    yield f"| {' | '.join(headings)} |"
    yield "|---" * len(headings) + "|"
    for error in all_errors():
        what = str(error.__doc__).partition("\n")[0]
        depth = "– " * (len(error.__mro__) - len(AllocationError.__mro__) - 1)
        code, status = str(exit_code(error.__new__(error))), str(status_of(error))
        cells = [f"{depth}`{error.__name__}`", f"`{error.slug}`", _fate(error), code, status, what]
        yield f"| {' | '.join(cells)} |"


def _fate(error: type[AllocationError]) -> str:
    """Return what becomes of a delivery or message that fails with this error."""
    if error.__module__.startswith(FOR_CALLERS) or error.__name__ in NO_FAILURES:
        return "–"
    if error.__name__ == "UnknownEventType":
        return "not claimed, stays pending"
    return "retried" if error.retryable else "parked, or a dead letter"


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
    "domain/events.py": "the events",
    "service_layer/handlers.py": "a handler for each message, and the table of what handles what",
    "service_layer/commit.py": "one transaction: state, events and deliveries, or none",
    "adapters/attempt_transaction.py": "the same in a database",
    "service_layer/delivery_model.py": "a delivery of an event to a handler; when it is retried",
    "service_layer/messagebus.py": "runs handlers: in time, in a fresh transaction; how they fail",
    "adapters/outbox.py": "deliveries in a database: claimed, settled, retried, parked",
    "process/worker.py": "claims due deliveries and runs their handlers",
}


def path() -> Iterator[str]:
    """Yield the files to read first, in order, with their lines."""
    yield "| | file | lines | |"
    yield "|---|---|---|---|"
    total = 0
    for number, (name, what) in enumerate(PATH.items(), start=1):
        lines = len((ROOT / "src" / "allocation" / name).read_text().splitlines())
        total += lines
        yield f"| {number} | [{name}](../src/allocation/{name}) | {lines} | {what} |"
    yield f"| | | {total} | |"


HANDLERS = ROOT / "src" / "allocation" / "service_layer" / "handlers.py"
SHOWN = ["register_user", "send_welcome_email", "HANDLERS"]
LEFT_OUT = r"(?m)(?:^        (?:#|on\((?!commands\.RegisterUser|$)).*$\n)+"


def handlers() -> Iterator[str]:
    """Yield what README shows of handlers.py, as it stands there; of the table, three rows."""
    shown = "\n".join(_excerpt(HANDLERS, SHOWN))
    yield from re.sub(LEFT_OUT, "        # …\n", shown).splitlines()


STEPS = {  # what each step is about
    "1_bus": ["EventBus"],
    "2_unit_of_work": ["UnitOfWork", "run"],
    "3_outbox": ["save_with_outbox", "relay"],
    "4_leases": ["CLAIM", "WRITE", "work"],
    "5_exactly_once": ["SETTLE", "do_and_settle"],
    "6_inbox": ["recognize_and_do"],
}


def step(name: str) -> Iterator[str]:
    """Yield what a step of docs/steps is about, as it stands there."""
    yield from _excerpt(ROOT / "docs" / "steps" / f"{name}.py", STEPS[name])


def _excerpt(file: Path, names: list[str]) -> Iterator[str]:
    source = file.read_text()
    lines, tree = source.splitlines(), ast.parse(source)
    yield "```python"
    for number, name in enumerate(names):
        (node,) = (node for node in tree.body if _name_of(node) == name)
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        yield from ["", ""] if number else []
        yield from lines[first - 1 : node.end_lineno]
    yield "```"


def _name_of(node: ast.stmt) -> str | None:
    match node:
        case ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return None


def cost() -> Iterator[str]:
    """Yield what one registration takes, as it was measured for docs/price.md and by benchmarks."""
    times = [row.split("|")[-2].strip() for row in measured("price", PRICE)[2:5]]
    tried = results.read()
    rows = [*tried["registration"].rows, *tried["registration_postgresql"].rows]
    faster = [1 / row.ratio for row in rows if row.other == "by hand on SQLAlchemy"]
    yield from wrap(
        f"On SQLite, a function that only inserts the user takes {times[0]} at best. A command "
        f"with its event and deliveries takes {times[1]}. Its handlers (log, coupon, two e-mails, "
        f"read model) take another {times[2]}; only the command line waits for them. By hand on "
        f"SQLAlchemy, all this is {min(faster):.1f} to {max(faster):.1f} times as fast.",
        width=100,
    )


FIRST_OF_EXTENSIONS = "\n## Over HTTP\n"
"""The heading in the glossary after which its words belong to extensions."""


def concepts() -> Iterator[str]:
    """Yield what has to be known of the core: its words and its lines."""
    core, *_ = (ROOT / "docs" / "glossary.md").read_text().partition(FIRST_OF_EXTENSIONS)
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
        for row in (row for row in rows if row.what == what):
            ratio = page.figure(row.ratio)
            yield f"| {row.other}: the same | {page.figure(row.theirs)} | {ratio} |"


GENERATED: dict[str, Callable[[], Iterator[str]]] = {
    "book_handler": partial(_excerpt, HANDLERS, ["add_coupon_batch"]),
    "capacity": capacity.capacity,
    "concepts": concepts,
    "cost": cost,
    "errors": errors,
    "figures": shape.figures,
    "handlers": handlers,
    "layers": import_graph.layers,
    "modules": import_graph.inside_layers,
    "path": path,
    "places": places.places,
    "queues": queues,
    "settings": settings_table.settings,
    **{f"step_{name[0]}": partial(step, name) for name in STEPS},
    "wiring": wiring_map.picture,
    "promises": wiring_map.table,
    **page.parts(),
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
