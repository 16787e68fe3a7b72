"""Messages of other services, from their arrival to what is stored; and what we rely on in them.

They are those of the AsyncAPI document of `allocation`.
"""

import json
from pathlib import Path

import pytest
from aftercommit import Application, testing
from aftercommit.errors import MessageAlreadyHandled

from loyalty import views
from loyalty.entrypoints.broker_messages import SUBSCRIPTIONS

from tests.conftest import OrderedCoupons

pytestmark = pytest.mark.anyio

CONTRACTS = Path(__file__).parents[2] / "contracts"
CLOUD_EVENT = "application/cloudevents+json"
USER = "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"
REGISTERED = {"user_id": USER, "name": "Иван", "email": "ivan@example.com"}
REDEEMED = {
    "redemption_id": "0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69",
    "user_id": USER,
    "batch_reference": "WELCOME",
}
REGISTRATIONS, REDEMPTIONS = SUBSCRIPTIONS


def published(type_: str, data: dict[str, str]) -> bytes:
    """Return an event as `allocation` publishes it."""
    event = {"specversion": "1.0", "id": f"{type_} 1", "source": "/allocation", "type": type_}
    return json.dumps({**event, "data": data}).encode()


async def test_who_registers_and_redeems_has_earned_coupons(
    application: Application, coupons: OrderedCoupons
) -> None:
    """Through translation, command and handlers, as if a broker had brought it."""
    redeemed = published("coupon_redeemed", REDEEMED)
    registered = published("user_registered", REGISTERED)

    await testing.inbound(application, "redemptions", redeemed, content_type=CLOUD_EVENT)
    await testing.inbound(application, "registrations", registered, content_type=CLOUD_EVENT)

    assert await views.statistics(application.database) == {"points": 100, "rewards": 1}
    assert [*coupons.batches] == ["L7d3c1a526c0e4a558a1b0c9a3f8d2e11-100"]


async def test_a_message_that_comes_again_is_recognized(application: Application) -> None:
    """It is recognized by its id, before anything else reads it."""
    registered = published("user_registered", REGISTERED)
    await testing.inbound(application, "registrations", registered, content_type=CLOUD_EVENT)

    with pytest.raises(MessageAlreadyHandled):
        await testing.inbound(application, "registrations", registered, content_type=CLOUD_EVENT)


def test_what_we_rely_on_is_what_the_contracts_say() -> None:
    """Reviews show each change of the files; the other team can check its messages against them."""
    for subscription, data in ((REGISTRATIONS, REGISTERED), (REDEMPTIONS, REDEEMED)):
        file = CONTRACTS / f"{subscription.name}.json"
        testing.check_contract(file, subscription, json.dumps(data).encode())
