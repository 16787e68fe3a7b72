"""What other services publish, in their words, becomes a command in our words."""

import json
from uuid import UUID

import pytest
from aftercommit.errors import InvalidPayload
from aftercommit.extensions.brokers.subscriptions import Inbound

from loyalty.domain.messages import CreditPoints
from loyalty.entrypoints.broker_messages import coupon_redeemed, user_registered

USER = "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"
REDEMPTION = "0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69"


def a_message(type_: str, **data: str) -> Inbound:
    return Inbound(body=json.dumps(data).encode(), type=type_)


def test_a_registration_is_an_occasion_for_points() -> None:
    """Their message contains more than we rely on."""
    message = a_message("user_registered", user_id=USER, name="Иван", email="ivan@example.com")

    assert user_registered(message) == CreditPoints(
        credit_id=UUID(USER), user_id=UUID(USER), occasion="registration"
    )


def test_a_redemption_is_an_occasion_for_points() -> None:
    """The id of the credit is theirs, so a message that they publish twice counts once."""
    message = a_message("coupon_redeemed", redemption_id=REDEMPTION, user_id=USER)

    assert coupon_redeemed(message) == CreditPoints(
        credit_id=UUID(REDEMPTION), user_id=UUID(USER), occasion="redemption"
    )


def test_what_else_happens_there_is_none_of_our_business() -> None:
    """Kafka's topic contains everything that they publish."""
    message = a_message("email_changed", user_id=USER)

    assert (user_registered(message), coupon_redeemed(message)) == (None, None)


def test_what_we_rely_on_has_to_be_there() -> None:
    """Otherwise, the message becomes a dead letter, with this reason."""
    with pytest.raises(InvalidPayload, match="user_id"):
        coupon_redeemed(a_message("coupon_redeemed", redemption_id=REDEMPTION))
