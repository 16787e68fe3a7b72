"""Where each step in the life of a delivery is in the code, and how little there is."""

import ast
from collections.abc import Iterator
from functools import cache

from tests.shape import ALLOCATION

DELIVERY = "service_layer/delivery_model.py"
RULES, ATTEMPT = "service_layer/commit.py", "adapters/attempt_transaction.py"
BUS, OUTBOX = "service_layer/messagebus.py", "adapters/outbox.py"

PLACES = {
    "what handles the event": {"service_layer/handlers.py": ["HANDLERS", "send_welcome_email"]},
    "the end of the transaction": {RULES: ["commit_unit_of_work", "_aggregates"]},
    "what the transaction writes": {
        ATTEMPT: ["open_unit_of_work", "write"],
        "adapters/inbox.py": ["record_command"],
        OUTBOX: ["store", "__init__"],
    },
    "the tables": {"adapters/tables.py": ["deliveries", "failures"]},
    "the first claim, by the committing process": {
        BUS: ["run_deliveries", "_run_all", "_next", "_run_one"],
    },
    "the claim of a worker, which polls at least once a second": {
        "process/worker.py": ["_claim_and_start"],
        OUTBOX: ["claim", "_take_leases"],
        "adapters/claim_statements.py": ["claim_statement"],
    },
    "the record of an expired lease": {"adapters/failure_history.py": ["record_expired_lease"]},
    "an attempt, and its time limit": {
        BUS: ["_attempt", "_have_effect", "_commit"],
        "service_layer/time_limits.py": ["of_attempt", "keep", "begin"],
    },
    "the idempotency key of the e-mail": {
        DELIVERY: ["idempotency_key"],
        "adapters/mime.py": ["compose"],
        "adapters/maildir.py": ["_deliver_to_maildir"],
    },
    "done, unless another process has claimed it since": {
        OUTBOX: ["settle_in"],
        "adapters/batch_settlement.py": [
            "settle",
            "WITH_VALID_TOKEN",
            "claim_params",
            "done",
        ],
    },
    "failed: retried or parked": {
        BUS: ["_record_failure"],
        DELIVERY: ["retry_delay"],
        "domain/error_kinds.py": ["is_permanent", "is_away"],
        OUTBOX: ["record_failure", "_park"],
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
            f"[{file}](../src/allocation/{file}) {', '.join(f'`{name}`' for name in names)}"
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
