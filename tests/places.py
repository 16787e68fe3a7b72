"""Where each step of the README's killed registration is in the code, and how little there is."""

import ast
from collections.abc import Iterator
from functools import cache

from tests.shape import ALLOCATION

DELIVERY = "service_layer/delivery.py"
RULES, UNIT = "service_layer/unit_of_work.py", "adapters/unit_of_work.py"
BUS, OUTBOX, ORM = "service_layer/messagebus.py", "adapters/outbox.py", "adapters/orm.py"

PLACES = {
    "what handles the event": {
        "service_layer/handlers.py": ["EVENT_HANDLERS", "send_welcome_email"]
    },
    "the end of the transaction": {RULES: ["commit", "__aexit__"]},
    "what it has written": {
        UNIT: ["_begin", "_write"],
        "adapters/repository.py": ["take_note"],
        OUTBOX: ["store", "__init__"],
    },
    "the tables": {ORM: ["deliveries", "failures"]},
    "the claim of the process that commits": {BUS: ["dispatch"], DELIVERY: ["first_attempts"]},
    "the claim of a worker, which looks at least once a second": {
        "entrypoints/worker.py": ["_begin_what_is_due"],
        OUTBOX: ["claim", "_leasing"],
    },
    "that the claim before was lost": {"adapters/failures.py": ["keep_lost"]},
    "an attempt, and its time limit": {
        BUS: ["_attempt", "_attempt_in_time", "_run_in_time", "_run"]
    },
    "what the e-mail is known by": {
        DELIVERY: ["idempotency_key"],
        "adapters/emails.py": ["compose", "_keep"],
    },
    "settled, unless another has claimed it since": {
        OUTBOX: ["settle", "settle_within", "_OWNED", "_claimed", "_marking"]
    },
    "failed: made again, or parked": {
        BUS: ["_record_failure"],
        DELIVERY: ["pause_after", "is_permanent"],
        OUTBOX: ["record_failure", "_feasible"],
    },
}


def places() -> Iterator[str]:
    """Yield a table of the functions to read, and their lines."""
    yield "| what | where | lines |"
    yield "|---|---|---|"
    total = 0
    for what, files in PLACES.items():
        count = sum(lines_of(name, file) for file, names in files.items() for name in names)
        total += count
        where = "; ".join(
            f"[{file}](src/allocation/{file}) {', '.join(f'`{name}`' for name in names)}"
            for file, names in files.items()
        )
        yield f"| {what} | {where} | {count} |"
    yield f"| | | {total} |"


def lines_of(name: str, file: str) -> int:
    """Return how many lines a function has in this file, or what is assigned to a name."""
    (found,) = (statement for statement in _statements(file) if _name(statement) == name)
    return (found.end_lineno or 0) - found.lineno + 1


@cache
def _statements(file: str) -> list[ast.stmt]:
    tree = ast.parse((ALLOCATION / file).read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]


def _name(statement: ast.stmt) -> str | None:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return None
