"""Writes the parts of the documentation that are made from the code, or that come from a run.

    python -m tests.project.generated

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; a test fails when it differs
from what the code says. One after `<!-- measured: NAME -->` is written by whoever makes the run; a
test makes the run anew, and compares what does not depend on the machine.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import aftercommit
from aftercommit.errors import Error, is_permanent, slug_of
from aftercommit.extensions.web.problems import status_of
from aftercommit.process.error_handling import exit_code
from aftercommit_tests.transitions import TRANSITIONS, State, Step

import allocation
from allocation.domain.exceptions import InvalidInput, RuleViolation
from tests.project import reference_pages, settings_table
from tools.files import ROOT

PAGES = [page for folder in ("", "docs/**/", "packages/*/") for page in ROOT.glob(f"{folder}*.md")]

LIFE = ROOT / "docs" / "life-of-a-delivery.md"
PART = re.compile(r"(<!-- (?:generated|measured): (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


FOR_CALLERS = tuple(
    f"aftercommit.extensions.{name}." for name in ("web", "page", "operations", "metrics")
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
    known = all_errors()
    for error in known:
        what = str(error.__doc__).partition("\n")[0]
        depth = "– " * sum(each in known for each in error.__mro__[1:])
        name, slug = f"{depth}`{error.__name__}`", f"`{slug_of(error)}`"
        code, status = str(exit_code(error.__new__(error))), str(status_of(error))
        cells = [name, slug, _fate(error), code, status, what]
        yield f"| {' | '.join(cells)} |"


def _fate(error: type[Exception]) -> str:
    """Return what becomes of a delivery or message that fails with this error."""
    if error.__module__.startswith(FOR_CALLERS) or error.__name__ in NO_FAILURES:
        return "–"
    if error.__name__ == "UnknownEventType":
        return "not claimed, stays due"
    return "parked, or a dead letter" if is_permanent(error.__new__(error)) else "retried"


def all_errors() -> list[type[Exception]]:
    """Return every error of the application, parents before their children."""
    for module in (
        *walk_packages(aftercommit.__path__, "aftercommit."),
        *walk_packages(allocation.__path__, "allocation."),
    ):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
    roots: list[type[Exception]] = [InvalidInput, RuleViolation, *Error.__subclasses__()]
    return [error for root in roots for error in (root, *_tree(root))]


def _tree(error: type[Exception]) -> Iterator[type[Exception]]:
    by_module = sorted(error.__subclasses__(), key=_module)  # not by who was imported first
    for child in by_module:
        if child.__module__.startswith(("aftercommit.", "allocation.")):
            yield child
            yield from _tree(child)


def _module(error: type[Exception]) -> tuple[bool, str]:
    return error.__module__ != Error.__module__, error.__module__


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


def deliveries() -> Iterator[str]:
    """Yield the diagram of the life of a delivery: the table that its model test walks."""
    yield from ["```mermaid", "stateDiagram-v2"]
    steps = [
        _arrow(before, step, after)
        for (before, step), after in TRANSITIONS.items()
        if before is State.PARKED or step not in OF_A_PERSON
    ]
    yield from (f"    {each}" for each in dict.fromkeys((*steps, *TIME_PASSES)))
    yield "```"


OF_A_PERSON = (Step.RETRY, Step.DISCARD)
"""Possible for all that is not finished: drawn once, where a person is waited for."""
TIME_PASSES = (
    "running --> lease_expired: the lease is over",
    "retrying --> due: its pause is over",
    "scheduled --> due: its delay is over",
)
"""What happens to a delivery although nobody does anything."""
SHOWN_BEFORE = {
    (State.RUNNING, Step.CLAIM): "lease_expired",
    (State.RUNNING, Step.EXHAUST): "lease_expired",
    (State.SCHEDULED, Step.CLAIM): "due",
}
SHOWN_AFTER = {Step.FAIL: "retrying", Step.DISCARD: "discarded"}
"""Where the state of a delivery depends on the clock, or has a word of its own."""


def _arrow(before: State, step: Step, after: State) -> str:
    first = SHOWN_BEFORE.get((before, step)) or _node(before)
    return f"{first} --> {SHOWN_AFTER.get(step) or _node(after)}: {step.value}"


def _node(state: State) -> str:
    names = {State.NONE: "[*]", State.PENDING: "due"}
    return names.get(state) or state.name.lower()


Parts = Mapping[str, Callable[[], Iterator[str]]]

GENERATED: Parts = {
    "book_handler": partial(_excerpt, HANDLERS, ["add_coupon_batch"]),
    "deliveries": deliveries,
    "errors": errors,
    "command_line": reference_pages.command_line,
    "first_path": reference_pages.first_path,
    "guaranteed": reference_pages.handlers,
    "handlers": handlers,
    "message_flow": reference_pages.message_flow,
    "promise_tests": reference_pages.promise_tests,
    "settings": settings_table.settings,
    "states": reference_pages.states,
    "tables": reference_pages.tables,
    **{f"step_{name[0]}": partial(step, name) for name in STEPS},
}


def brought_up_to_date(page: Path, parts: Parts = GENERATED) -> str:
    """Return a page with these of its parts as they have to be."""

    def made(part: re.Match[str]) -> str:
        if part[2] not in parts:
            return part[0]
        return part[1] + "\n".join(parts[part[2]]()) + f"\n{part[4]}"

    return PART.sub(made, page.read_text())


def shown(name: str, page: Path) -> list[str]:
    """Return the lines of a part, as a page has them."""
    parts = {found[2]: found[3] for found in PART.finditer(page.read_text())}
    return parts[name].splitlines()


def write(parts: Parts = GENERATED, pages: Iterable[Path] = PAGES) -> None:
    """Write what differs into the pages."""
    for each in pages:
        if (new := brought_up_to_date(each, parts)) != each.read_text():
            each.write_text(new)
            print(f"written: {each.relative_to(ROOT)}")  # noqa: T201


def write_run(name: str, lines: Iterable[str], page: Path) -> None:
    """Write what a run has printed into its part of a page."""
    write({name: lambda: iter(lines)}, [page])


if __name__ == "__main__":
    write()
