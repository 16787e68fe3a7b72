"""What other services publish, in their words, and what it means here: an anti-corruption layer.

What they call things is written here and in `adapters/coupon_supply.py`, and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from aftercommit.extensions.brokers.subscriptions import Inbound, Subscription

from loyalty.domain.messages import CreditPoints


@dataclass
class UserRegistered:
    """What we rely on of `user_registered`; it also has a name and an address, which we leave."""

    user_id: UUID


@dataclass
class CouponRedeemed:
    """What we rely on of `coupon_redeemed`."""

    redemption_id: UUID
    user_id: UUID


def points_for(message: Inbound) -> CreditPoints | None:
    """Credit who has registered, and who has redeemed a coupon; all else is none of our business.

    The ids of credits are theirs, so what they publish twice, under whatever ids, counts once.
    """
    if message.type == "user_registered":
        user = message.data(UserRegistered)
        return CreditPoints(credit_id=user.user_id, user_id=user.user_id, occasion="registration")
    if message.type == "coupon_redeemed":
        coupon = message.data(CouponRedeemed)
        return CreditPoints(
            credit_id=coupon.redemption_id, user_id=coupon.user_id, occasion="redemption"
        )
    return None


SUBSCRIPTIONS: Sequence[Subscription] = [
    Subscription(
        "allocation",
        points_for,
        exchange="allocation.events",
        routing_keys=["user_registered", "coupon_redeemed"],
        topic="allocation.events",
    ),
]
"""Their messages come in any order and several times, which changes nothing: see `Account`."""
