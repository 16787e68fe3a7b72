"""Writes the parts of the documentation that are made from the code, or that come from a run.

    python -m tools.generated

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; a test fails when it differs
from the code. A part after `<!-- measured: NAME -->` is written by a run of its tool; a test
repeats the run, and compares what does not depend on the machine.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import aftercommit
from aftercommit.cli.error_handling import exit_code
from aftercommit.errors import Error, is_permanent, slug_of
from aftercommit.extensions.web.problems import status_of

import allocation
from allocation.domain.bases import InvalidValue, RuleViolation
from tools import metrics_page, reference_pages, terminal_picture
from tools.repository import ROOT

PAGES = [
    page
    for folder in ("", "docs/**/", "packages/*/", "packages/*/docs/**/", "tests/")
    for page in ROOT.glob(f"{folder}*.md")
]

PART = re.compile(r"(<!-- (?:generated|measured): (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

FOR_CALLERS = tuple(
    f"aftercommit.extensions.{name}." for name in ("web", "page", "operations", "metrics")
)
"""Extensions whose errors respond to a caller, and never end an attempt of a delivery."""
NO_FAILURES = {
    "DeliverySuperseded",
    "MessageAlreadyHandled",
    "SchemaOfAnother",
    "SchemaOutdated",
    "SchemaTooNew",
    "SchemaTooOld",
    "WiringError",
}
"""Errors that end an attempt without a failure, or the program before the first one."""


def errors() -> Iterator[str]:
    """Yield a table of all errors: the meaning of each kind, for readers and for programs."""
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
    roots: list[type[Exception]] = [InvalidValue, RuleViolation, *Error.__subclasses__()]
    return [error for root in roots for error in (root, *_tree(root))]


def _tree(error: type[Exception]) -> Iterator[type[Exception]]:
    by_module = sorted(error.__subclasses__(), key=_module)  # not by the order of imports
    for child in by_module:
        if child.__module__.startswith(("aftercommit.", "allocation.")):
            yield child
            yield from _tree(child)


def _module(error: type[Exception]) -> tuple[bool, str]:
    return error.__module__ != Error.__module__, error.__module__


Parts = Mapping[str, Callable[[], Iterator[str]]]

GENERATED: Parts = {
    "accepted_commands": reference_pages.accepted_commands,
    "errors": errors,
    "command_line": reference_pages.command_line,
    "licences": reference_pages.licences,
    "message_flow": reference_pages.message_flow,
    "message_limits": reference_pages.message_limits,
    "metrics": metrics_page.metrics,
    "promise_tests": reference_pages.promise_tests,
    "published_events": reference_pages.published_events,
    "requirements": reference_pages.requirements,
}


def brought_up_to_date(page: Path, parts: Parts = GENERATED) -> str:
    """Return a page with these of its parts updated."""

    def made(part: re.Match[str]) -> str:
        if part[2] not in parts:
            return part[0]
        return part[1] + "\n".join(parts[part[2]]()) + f"\n{part[4]}"

    return PART.sub(made, page.read_text())


def shown(name: str, page: Path) -> list[str]:
    """Return the lines of a part, as a page contains them."""
    parts = {found[2]: found[3] for found in PART.finditer(page.read_text())}
    return parts[name].splitlines()


def write(parts: Parts = GENERATED, pages: Iterable[Path] = PAGES) -> None:
    """Write what differs into the pages."""
    for each in pages:
        if (new := brought_up_to_date(each, parts)) != each.read_text():
            each.write_text(new)
            print(f"written: {each.relative_to(ROOT)}")


def write_run(name: str, lines: Iterable[str], page: Path) -> None:
    """Write the output of a run into its part of a page."""
    write({name: lambda: iter(lines)}, [page])


if __name__ == "__main__":
    write()
    terminal_picture.PICTURE.write_text(terminal_picture.picture())
