"""Measures the source: what is core and what is an extension, how long files and functions are.

The limits stand here, once; `tests/unit/test_shape.py` compares.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median, quantiles

SOURCE = Path(__file__).parents[1] / "src"
ALLOCATION = SOURCE / "allocation"

MACHINERY_LINES = 4904  # what is read in an evening
PATH_LINES = 1000  # the same of the path; with the use cases on it, an hour
FILE_LINES = 250
MEDIAN_BODY_LINES = 6
LONG_BODY_LINES = 15  # nine functions in ten are shorter, or as long

USE_CASES = [
    "__init__.py",
    "__main__.py",
    "bootstrap.py",
    "config.py",
    "extension_list.py",
    "messages.py",
    "views.py",
    "domain",
    "service_layer/emails.py",
    "service_layer/handlers.py",
    "service_layer/ports.py",
    "service_layer/read_model_types.py",
    "service_layer/repositories.py",
    "service_layer/unit_of_work.py",
    "service_layer/user_mailer.py",
    "adapters/maildir.py",
    "adapters/mime.py",
    "adapters/orm.py",
    "adapters/repositories.py",
    "adapters/smtp",
    "adapters/unit_of_work.py",
    "adapters/user_view.py",
    "adapters/value_columns.py",
    "entrypoints/allocation.py",
    "entrypoints/console_reporter.py",
    "entrypoints/cli.py",
    "entrypoints/demo.py",
    "entrypoints/http",
    "entrypoints/users.py",
    "user_import",
    "erase_user",
    "rebuild_users.py",
]
"""What is about users and coupons. This grows with the business; all else is machinery."""

PATH = [  # that docs/README.md leads through, in reading order
    "domain/events.py",
    "service_layer/handlers.py",
    "service_layer/commit.py",
    "adapters/attempt_transaction.py",
    "service_layer/delivery_model.py",
    "service_layer/messagebus.py",
    "adapters/outbox.py",
    "process/worker.py",
]

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def core() -> list[Path]:
    """Return the files of the core: all but those of extensions, and the schema of the engine."""
    adapters = ALLOCATION / "adapters"
    folders = {adapters / "migrations", adapters / "engine_migrations", ALLOCATION / "extensions"}
    some = [file for file in files(ALLOCATION) if folders.isdisjoint(file.parents)]
    return [file for file in some if file != adapters / "tables.py"]


def machinery(some: Iterable[Path]) -> list[Path]:
    """Return those of these files that a use case does not add to."""
    use_cases = {ALLOCATION / name for name in USE_CASES}
    return [file for file in some if use_cases.isdisjoint((file, *file.parents))]


def extension_folders() -> list[Path]:
    """Return the folders of all extensions."""
    return [
        each for each in (ALLOCATION / "extensions").iterdir() if (each / "__init__.py").exists()
    ]


def files(folder: Path = SOURCE) -> list[Path]:
    """Return the files of Python in a folder and all below it."""
    return sorted(folder.rglob("*.py"))


def lines(some: Iterable[Path]) -> int:
    """Return how many lines these files have in all, as `wc -l` counts them."""
    return sum(file.read_text().count("\n") for file in some)


def body_lines(file: Path) -> Iterator[int]:
    """Yield the lines of each function's body, without its docstring."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, _Function):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield (body[-1].end_lineno or 0) - body[0].lineno + 1


def functions(some: Iterable[Path]) -> tuple[float, float]:
    """Return the median of the lines of all bodies, and what nine in ten do not exceed."""
    sizes = [size for file in some for size in body_lines(file)]
    return median(sizes), quantiles(sizes, n=10, method="inclusive")[-1]
