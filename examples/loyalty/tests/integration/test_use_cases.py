"""The use cases, on the bus and a database: send a command, check all of its results."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aftercommit import Application, testing

from loyalty import views
from loyalty.adapters.orm import mapping
from loyalty.domain import messages
from loyalty.domain.messages import CreditPoints
from loyalty.entrypoints.app import APP
from loyalty.service_layer import handlers

from tests.conftest import OrderedCoupons

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parents[1] / "golden"
USER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")
REFERENCE = "L7d3c1a526c0e4a558a1b0c9a3f8d2e11-100"


def a_command(occasion: str = "registration") -> CreditPoints:
    return CreditPoints(credit_id=uuid4(), user_id=USER, occasion=occasion)


async def test_points_are_stored_and_counted(application: Application) -> None:
    """The main use case."""
    report = await application.bus.handle(a_command())

    assert report.failures == []
    assert [(row.user_id, row.points) for row in await views.accounts(application.database)] == [
        (USER, 20)
    ]
    assert await views.statistics(application.database) == {"points": 20, "rewards": 0}


async def test_coupons_are_ordered_when_somebody_has_enough_points(
    application: Application, coupons: OrderedCoupons
) -> None:
    """The order has the reward's reference, and its own idempotency key."""
    await application.bus.handle(a_command())
    assert coupons.batches == {}

    await application.bus.handle(a_command("redemption"))

    assert coupons.batches == {REFERENCE: 5}
    assert await views.statistics(application.database) == {"points": 100, "rewards": 1}


async def test_an_order_that_fails_is_sent_later(
    application: Application, coupons: OrderedCoupons
) -> None:
    """The reward is stored nevertheless."""
    coupons.failure = ConnectionError("the broker is down")
    await application.bus.handle(a_command())
    report = await application.bus.handle(a_command("redemption"))
    assert [failure.delivery.handler for failure in report.failures] == ["order_coupons"]

    coupons.failure = None
    await testing.let_time_pass(application, minutes=1)
    await testing.deliver_due(application)

    assert coupons.batches == {REFERENCE: 5}


async def test_nothing_is_forgotten(application: Application) -> None:
    """Missing could be an entry of a message or a handler, a column, or a migration."""
    found = await testing.omissions(application, mapping, handlers, messages)
    assert not found, "\n".join(found)


def test_stored_events_can_still_be_read() -> None:
    """Otherwise, all of their deliveries would be parked."""
    testing.check_stored_events(APP, GOLDEN / "stored_events.json")
