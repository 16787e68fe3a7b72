"""Messages of other services, from their arrival to what is stored; and what we rely on in them."""

from pathlib import Path

import pytest
from aftercommit import Application, testing
from aftercommit.errors import MessageAlreadyHandled

from allocation import views
from allocation.entrypoints.broker_messages import SUBSCRIPTIONS

pytestmark = pytest.mark.anyio

CONTRACTS = Path(__file__).parents[2] / "contracts"
APPROVED = b'{"code": "SPRING", "coupons": 50}'
(CAMPAIGNS,) = SUBSCRIPTIONS


async def test_an_approved_campaign_makes_its_coupons_available_once(app: Application) -> None:
    """However often the message comes: it is recognized by its id."""
    await testing.inbound(app, "campaigns", APPROVED, message_id="c1")
    with pytest.raises(MessageAlreadyHandled):
        await testing.inbound(app, "campaigns", APPROVED, message_id="c1")

    async with views.coupon_batches(app.database) as batches:
        assert [(each.reference, each.quantity) async for each in batches] == [("SPRING", 50)]


def test_what_we_rely_on_is_what_the_contract_with_marketing_says() -> None:
    """A change is seen in a review; marketing can run its messages against the file."""
    testing.check_contract(CONTRACTS / "campaigns.json", CAMPAIGNS, APPROVED)
