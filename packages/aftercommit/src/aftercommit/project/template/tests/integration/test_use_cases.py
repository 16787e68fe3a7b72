"""The use cases, on the bus and a database: send a command, check all of its results."""

import re
from pathlib import Path
from uuid import uuid4

import pytest
from aftercommit import Application, testing

from shop import views
from shop.adapters.orm import mapping
from shop.domain import messages
from shop.domain.messages import CancelOrder, PlaceOrder
from shop.entrypoints.app import APP
from shop.service_layer import handlers

from tests.conftest import SentEmails

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parents[1] / "golden"
PERSONAL = {"orders.email"}  # what has to be overwritten when somebody is erased
ABOUT_NOBODY: set[str] = set()  # what only looks like them
LOOKS_PERSONAL = re.compile("mail|phone|address|birth|customer|person|user|first_name|last_name")
UNDECIDED = """{} may be personal: add it to PERSONAL in this test, and overwrite it where such
data are erased, or add it to ABOUT_NOBODY. See “A table with personal data” in docs/guides.md"""


def a_command() -> PlaceOrder:
    return PlaceOrder(order_id=uuid4(), email="ivan@example.com", articles={"lamp": 2})


async def test_an_order_is_stored_counted_and_confirmed(
    application: Application, emails: SentEmails
) -> None:
    """The main use case."""
    report = await application.bus.handle(command := a_command())

    assert report.failures == []
    [row] = await views.orders(application.database)
    assert (row.order_id, row.pieces) == (command.order_id, 2)
    assert await views.statistics(application.database) == {"placed": 1, "cancelled": 0}
    assert emails.subjects == ["Your order"]


async def test_an_order_can_be_cancelled(application: Application) -> None:
    """The cancellation is counted, too."""
    await application.bus.handle(command := a_command())

    await application.bus.handle(CancelOrder(order_id=command.order_id))

    assert (await views.order(application.database, command.order_id)).is_cancelled
    assert await views.statistics(application.database) == {"placed": 1, "cancelled": 1}


async def test_feedback_is_asked_for_after_two_weeks(
    application: Application, emails: SentEmails
) -> None:
    """Not before that, and not about cancelled orders."""
    await application.bus.handle(a_command())
    await application.bus.handle(cancelled := a_command())
    await application.bus.handle(CancelOrder(order_id=cancelled.order_id))
    await testing.let_time_pass(application, days=13)
    await testing.deliver_due(application)
    assert emails.subjects == ["Your order"] * 2

    await testing.let_time_pass(application, days=1)
    await testing.deliver_due(application)

    assert emails.subjects == ["Your order", "Your order", "How was it?"]


async def test_a_confirmation_that_fails_is_sent_later(
    application: Application, emails: SentEmails
) -> None:
    """The order is stored nevertheless."""
    emails.failure = ConnectionError("the mail server is down")
    report = await application.bus.handle(a_command())
    assert [failure.delivery.handler for failure in report.failures] == ["confirm_order"]

    emails.failure = None
    await testing.let_time_pass(application, minutes=1)
    await testing.deliver_due(application)

    assert emails.subjects == ["Your order"]


async def test_nothing_is_forgotten(application: Application) -> None:
    """Missing could be an entry, a column, a migration, or a call that adds an aggregate."""
    found = await testing.omissions(application, mapping, handlers, messages)
    assert not found, "\n".join(found)


async def test_what_is_for_later_looks_at_the_state_when_it_runs(tmp_path: Path) -> None:
    """Each `Later` is listed here, with what leads to its event, and what makes it needless."""
    command = a_command()

    async def ordered(application: Application) -> None:
        await application.bus.handle(command)

    async def cancelled(application: Application) -> None:
        await application.bus.handle(CancelOrder(order_id=command.order_id))

    scenarios = {handlers.ask_for_feedback: (ordered, cancelled)}
    await testing.check_delayed(APP, tmp_path, scenarios)


def test_every_setting_is_listed() -> None:
    """Operators look for settings there."""
    testing.check_settings(APP, Path(__file__).parents[2] / ".env.example")


def test_no_handler_has_lost_its_name() -> None:
    """Otherwise, nobody could run stored deliveries."""
    testing.check_handler_names(APP, GOLDEN / "handler_names.txt")


def test_stored_events_can_still_be_read() -> None:
    """Otherwise, all of their deliveries would be parked."""
    testing.check_stored_events(APP, GOLDEN / "stored_events.json")


def test_each_column_about_a_person_is_known() -> None:
    """Someone may ask you to erase what you know of them."""
    tables = mapping.metadata.sorted_tables
    columns = [f"{table.name}.{column}" for table in tables for column in table.c.keys()]
    found = [each for each in columns if LOOKS_PERSONAL.search(each.partition(".")[2])]
    undecided = [each for each in found if each not in PERSONAL | ABOUT_NOBODY]
    assert not undecided, UNDECIDED.format(", ".join(undecided))
