"""The mistakes of builders: the tests that come with a project find them, and say what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aftercommit.project import new_project

HANDLERS, MESSAGES = "service_layer/handlers.py", "domain/messages.py"
ORDERS, ORM = "domain/orders.py", "adapters/orm.py"
LAST_EVENT = "@dataclass(frozen=True, slots=True, kw_only=True)\nclass OrderCancelled"
FIELD = "(Event):\n    order_id: UUID\n\n\n"
SEND = 'await emails.send(event.email, "Your order"'
TO_ANOTHER = 'await emails.send("a@b.c", "", "", idempotency_key=idempotency_key)'

MISTAKES = {
    "an attribute without a column": (
        (ORDERS, "self.is_cancelled = False", "self.is_cancelled = self.is_gift = False"),
        "Order.is_gift has no column: give it one, and a migration",
    ),
    "an attribute of a part without a column": (
        (ORDERS, "self.id, self.article, self", "self.note = self.id, self.article, self"),
        "Line.note has no column",
    ),
    "a column without a migration": (
        (ORM, "metadata,\n", 'metadata,\n    sa.Column("note", sa.String),\n'),
        "write a migration: tables and database differ, ('add_column', None, 'orders'",
    ),
    "a handler without a row": (
        (HANDLERS, "            count_order,\n", ""),
        "count_order is in no row of the table of kiosk.service_layer.handlers",
    ),
    "a message without a row": (
        (MESSAGES, LAST_EVENT, LAST_EVENT.replace("Cancelled", "Split") + f"{FIELD}{LAST_EVENT}"),
        "OrderSplit has no row in the table of kiosk.service_layer.handlers",
    ),
    "a handler that asks for uow and a port": (
        (HANDLERS, "event: OrderPlaced, emails: ", "event: OrderPlaced, uow: UnitOfWork, emails: "),
        "No transaction holds both: split it in two",
    ),
    "e-mails to many with one key": (
        (HANDLERS, SEND, f"{TO_ANOTHER}\n    {SEND}"),
        "one key, two recipients: record an event for each of them",
    ),
    "a mapping without a version": (
        (ORM, "version_id_col=orders.c.version, ", ""),
        "say map_imperatively(…, version_id_col=table.c.version)",
    ),
}


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder / "kiosk",
        env=os.environ | {"PYTHONPATH": str(folder / "kiosk" / "src")},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_by_the_tests_of_the_project(mistake: str, tmp_path: Path) -> None:
    """At the first run after it was made."""
    (name, right, wrong), told = MISTAKES[mistake]
    new_project(tmp_path / "kiosk", [])
    file = tmp_path / "kiosk" / "src" / "kiosk" / name
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))

    ran = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_handlers.py")

    assert ran.returncode != 0
    assert told in ran.stdout, ran.stdout


FIND = "await uow.orders.find(command.order_id)"


@pytest.mark.parametrize("wrong", [f"if {FIND[6:]} is None", f"if not {FIND[6:]}"])
def test_a_forgotten_await_is_found_by_its_type_checker(wrong: str, tmp_path: Path) -> None:
    """Such a condition always goes one way, so no order would ever be placed, or each twice."""
    new_project(tmp_path / "kiosk", [])
    file = tmp_path / "kiosk" / "src" / "kiosk" / HANDLERS
    assert f"if {FIND} is None" in file.read_text()
    file.write_text(file.read_text().replace(f"if {FIND} is None", wrong))

    ran = run(
        tmp_path, "mypy", "--cache-dir", str(tmp_path.parent / "mypy"), f"src/kiosk/{HANDLERS}"
    )

    assert "Found 1 error" in ran.stdout, ran.stdout
