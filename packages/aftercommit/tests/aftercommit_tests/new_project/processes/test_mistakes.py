"""The mistakes of builders: the tests that come with a project find them, and say what to do."""

from pathlib import Path

import pytest
from aftercommit.project import new_project

from aftercommit_tests.new_project.processes import run, types_of

pytestmark = pytest.mark.check

HANDLERS = "service_layer/handlers.py"
ORDERS, ORM = "domain/orders.py", "adapters/orm.py"
SEND = "await emails.send(email,"
TO_ANOTHER = 'await emails.send(Email("a@b.c", "", ""), idempotency_key=idempotency_key)'

MISTAKES = {
    # this one stands for all that `testing.omissions` finds: see test_omissions.py
    "an attribute of a part without a column": (
        (ORDERS, "self.pieces = pieces", "self.pieces = self.note = pieces"),
        "Line.note has no column",
    ),
    "a handler that asks for uow and a port": (
        (HANDLERS, "OrderPlaced, emails: ", "OrderPlaced, uow: UnitOfWork, emails: "),
        "No transaction holds both: split it in two",
    ),
    "e-mails to many with one key": (
        (HANDLERS, SEND, f"{TO_ANOTHER}\n    {SEND}"),
        "one key, two recipients: record an event for each of them",
    ),
    "an order that is not added": (
        (HANDLERS, "uow.orders.add(order)", "order.cancel()"),
        "place_order makes Order, and adds it to no repository, so it is not stored: uow",
    ),
    "a handler that was renamed": (
        (HANDLERS, "confirm_order", "thank_for_order"),
        'Handlers(…, renamed={"confirm_order": "its new name"})',
    ),
    "a handler that is for later and looks at no state": (
        (HANDLERS, "if await is_cancelled(event.order_id):", "if False:"),
        "ask_for_feedback has an effect although cancelled came before: it calls emails.send",
    ),
    "a migration without a column": (
        (
            "adapters/migrations/kiosk_0001_initial.py",
            'sa.Column("is_cancelled", sa.Boolean(), nullable=False),',
            "",
        ),
        "the program knows columns that no migration has made; write one for: orders.is_cancelled",
    ),
    "an event with another field": (
        (
            "domain/messages.py",
            "email: str\n    pieces: int",
            "email: str\n    pieces: int\n    note: str",
        ),
        'upcasters={("order_placed", 1): lambda old: {"FIELD": "VALUE", **old}}',
    ),
    "a column about a person that nobody erases": (
        (ORM, 'sa.Column("pieces",', 'sa.Column("phone", sa.String),\n    sa.Column("pieces",'),
        "order_lines.phone may be personal: add it to PERSONAL in this test",
    ),
    "a mapping without a version": (
        (ORM, "version_id_col=orders.c.version, ", ""),
        "write map_imperatively(…, version_id_col=table.c.version)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_by_the_tests_of_the_project(mistake: str, tmp_path: Path) -> None:
    """At the first run after it was made."""
    (name, right, wrong), told = MISTAKES[mistake]
    new_project(tmp_path / "kiosk", [])
    file = tmp_path / "kiosk" / "src" / "kiosk" / name
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))

    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration/test_use_cases.py")
    ran = run(tmp_path / "kiosk", *pytest)

    assert ran.returncode != 0
    assert told in ran.stdout, ran.stdout


def test_an_endpoint_that_was_opened_to_all_is_found(tmp_path: Path) -> None:
    """Whatever the tests of the endpoint send."""
    new_project(tmp_path / "kiosk", ["--http"])
    file = tmp_path / "kiosk" / "src" / "kiosk" / "entrypoints" / "http.py"
    assert "@guarded.delete" in file.read_text()
    file.write_text(file.read_text().replace("@guarded.delete", "@public.delete"))

    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration/test_http.py")
    ran = run(tmp_path / "kiosk", *pytest, "-k", "anybody_may_call")

    assert ran.returncode != 0
    assert "DELETE /orders/{order_id} can be called by anybody now." in ran.stdout, ran.stdout


FIND = "uow.orders.find(order.id)"
RIGHT = f"if known := await {FIND}:"


@pytest.mark.parametrize("wrong", [f"if known := {FIND}:", f"if (known := {FIND}) is not None:"])
def test_a_forgotten_await_is_found_by_its_type_checker(
    wrong: str, tmp_path: Path, shared_folder: Path
) -> None:
    """Such a condition always goes one way, so no order would ever be placed."""
    new_project(tmp_path / "kiosk", [])
    file = tmp_path / "kiosk" / "src" / "kiosk" / HANDLERS
    assert RIGHT in file.read_text()
    file.write_text(file.read_text().replace(RIGHT, wrong))

    ran = types_of(tmp_path / "kiosk", shared_folder, f"src/kiosk/{HANDLERS}")

    found = len(ran.stdout.splitlines()) - 1
    assert f"Found {found} error" in ran.stdout, ran.stdout
    assert any(each in ran.stdout for each in ("[truthy-bool]", "[comparison-overlap]")), ran.stdout
