"""The messages of brokers: ours, as other services see them, and theirs, as we understand them.

What `allocation` publishes becomes a command of ours here, by a plain function for each of its
messages. Its terms are used only here and in `adapters/coupon_supply.py`.
What we rely on is in `contracts`, which a test compares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aftercommit.extensions.brokers.subscriptions import Inbound, Subscription

from loyalty.domain.bases import Command
from loyalty.domain.messages import CreditPoints

USER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")

ACCEPTED_FROM_BROKERS: Sequence[type[Command]] = ()
"""The commands that others may send: none."""

EXAMPLE_VALUES: Mapping[str, Any] = {
    "user_id": USER,
    "subject": USER,
    "threshold": 100,
}
"""The values of fields in the examples of the AsyncAPI document."""


@dataclass(frozen=True, slots=True)
class UserRegistered:
    """What we rely on when a user has registered; the name and the address are none of ours."""

    user_id: UUID


@dataclass(frozen=True, slots=True)
class CouponRedeemed:
    """What we rely on when a user has used a coupon up."""

    redemption_id: UUID
    user_id: UUID


def user_registered(message: Inbound) -> CreditPoints | None:
    """Credit the registered user. The id of the credit is the user's, who registers only once."""
    if message.type != "user_registered":  # Kafka's topic has everything that they publish
        return None
    user = message.data(UserRegistered)
    return CreditPoints(credit_id=user.user_id, user_id=user.user_id, occasion="registration")


def coupon_redeemed(message: Inbound) -> CreditPoints | None:
    """Credit the user who redeemed a coupon. The id of the credit is the redemption's."""
    if message.type != "coupon_redeemed":
        return None
    coupon = message.data(CouponRedeemed)
    return CreditPoints(
        credit_id=coupon.redemption_id, user_id=coupon.user_id, occasion="redemption"
    )


SUBSCRIPTIONS = [
    Subscription(
        "registrations",
        user_registered,
        exchange="allocation.events",
        routing_keys=["user_registered"],
        topic="allocation.events",
        relies_on=UserRegistered,
    ),
    Subscription(
        "redemptions",
        coupon_redeemed,
        exchange="allocation.events",
        routing_keys=["coupon_redeemed"],
        topic="allocation.events",
        relies_on=CouponRedeemed,
    ),
]
"""Each has its own queue, so a redemption may come first, which `Account` accepts."""
