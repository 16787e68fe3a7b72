"""What `allocation` publishes, as it comes, and what it means here.

The messages are those of its AsyncAPI document.
"""

import json
from typing import Any
from uuid import UUID

import pytest
from aftercommit.errors import InvalidPayload
from aftercommit.extensions.brokers.subscriptions import Inbound

from loyalty.domain.messages import CreditPoints
from loyalty.entrypoints.subscriptions import points_for

USER = "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"
REDEMPTION = "0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69"
REGISTERED = {"user_id": USER, "name": "Иван", "email": "ivan@example.com"}
REDEEMED = {"redemption_id": REDEMPTION, "user_id": USER, "batch_reference": "WELCOME"}


def a_message(type_: str, data: dict[str, Any]) -> Inbound:
    event = {"specversion": "1.0", "id": "1", "source": "/allocation", "type": type_, "data": data}
    body = json.dumps(event).encode()
    return Inbound(body=body, content_type="application/cloudevents+json", type=type_)


@pytest.mark.parametrize(
    ("type_", "data", "credit_id", "occasion"),
    [
        ("user_registered", REGISTERED, USER, "registration"),
        ("coupon_redeemed", REDEEMED, REDEMPTION, "redemption"),
    ],
)
def test_what_has_happened_there_is_an_occasion_for_points(
    type_: str, data: dict[str, Any], credit_id: str, occasion: str
) -> None:
    """The id of the credit is theirs: whatever comes again changes nothing."""
    assert points_for(a_message(type_, data)) == CreditPoints(
        credit_id=UUID(credit_id), user_id=UUID(USER), occasion=occasion
    )


def test_what_else_happens_there_is_none_of_our_business() -> None:
    """Kafka's topic has everything that they publish."""
    assert points_for(a_message("email_changed", {"user_id": USER})) is None


def test_what_we_rely_on_has_to_be_there() -> None:
    """Or it becomes a dead letter, with this reason."""
    with pytest.raises(InvalidPayload, match="user_id"):
        points_for(a_message("coupon_redeemed", {"redemption_id": REDEMPTION}))
