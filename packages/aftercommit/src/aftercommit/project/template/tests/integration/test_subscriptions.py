"""Messages of other services, from their arrival to what is stored; and what we rely on in them."""

from pathlib import Path
from uuid import uuid4

import pytest
from aftercommit import Application, testing

from shop import views
from shop.domain.messages import PlaceOrder
from shop.entrypoints.broker_messages import SUBSCRIPTIONS

pytestmark = pytest.mark.anyio

CONTRACTS = Path(__file__).parents[2] / "contracts"
ORDER = uuid4()
FAILED = b'{"payment": "P-17", "order": "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11", "why": "empty"}'
[PAYMENTS] = [each for each in SUBSCRIPTIONS if each.name == "payments"]


async def test_an_order_is_cancelled_when_its_payment_has_failed(application: Application) -> None:
    """Through translation, command and handlers, as if a broker had brought it."""
    order = PlaceOrder(order_id=ORDER, email="ivan@example.com", articles={"lamp": 2})
    await application.bus.handle(order)

    failed = FAILED.replace(b"7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11", str(ORDER).encode())
    await testing.inbound(application, "payments", failed)

    assert await views.statistics(application.database) == {"placed": 1, "cancelled": 1}


def test_what_we_rely_on_is_what_the_contract_says() -> None:
    """Reviews show each change of the file; the other team can check its messages against it."""
    testing.check_contract(CONTRACTS / "payments.json", PAYMENTS, FAILED)
