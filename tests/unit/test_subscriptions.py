"""What other services publish, in their words, becomes a command in ours: no broker is needed."""

import json

import pytest
from aftercommit.errors import InvalidPayload
from aftercommit.extensions.brokers.subscriptions import Inbound

from allocation.domain.commands import AddCouponBatch
from allocation.entrypoints.broker_messages import campaign_approved


def approved(**said: object) -> Inbound:
    """Return a message of marketing, which says more than we rely on."""
    return Inbound(body=json.dumps({"code": "SPRING", "budget": "900 EUR", **said}).encode())


def test_the_coupons_of_an_approved_campaign_become_a_batch() -> None:
    """Marketing's code is the reference, so approving it again changes nothing."""
    assert campaign_approved(approved(coupons=50)) == AddCouponBatch(
        reference="SPRING", quantity=50
    )


def test_a_campaign_without_coupons_is_none_of_our_business() -> None:
    """It is acknowledged and counted, and no dead letter."""
    assert campaign_approved(approved(coupons=0)) is None


def test_a_message_without_what_we_rely_on_is_refused() -> None:
    """It becomes a dead letter, which says what is missing."""
    with pytest.raises(InvalidPayload, match="coupons"):
        campaign_approved(approved())
