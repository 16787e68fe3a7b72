"""The messages of brokers: what other services may send us, and how we read their own events.

A function for each message of another service turns it into a command of ours: the anti-corruption
layer. Their terms are not used outside this file; `contracts` lists the fields we rely on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aftercommit.extensions.brokers.subscriptions import Inbound, Subscription

from allocation.domain import commands, events

ACCEPTED_FROM_BROKERS: tuple[type[commands.Command], ...] = (
    commands.RegisterUser,
    commands.ChangeEmail,
    commands.AddCouponBatch,
    # without RedeemCoupon: a code is money, so it must not wait in queues or among dead letters
)
"""The commands that others may send through a message broker; all others are refused."""

USER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")
EXAMPLE_VALUES: Mapping[str, Any] = {
    "batch_reference": "WELCOME",
    "code": "WELCOME-0123456789ABCDEF",
    "email": "ivan@example.com",
    "name": "Иван",
    "new_email": "ivan@example.org",
    "old_email": "ivan@example.com",
    "quantity": 100,
    "reference": "WELCOME",
    "user_id": events.UserId(USER),
    "subject": USER,
}
"""The values of messages in the examples of the AsyncAPI document: see `BrokersExtension`."""


@dataclass(frozen=True, slots=True)
class ApprovedCampaign:
    """The fields that we rely on in the message that marketing has approved a campaign."""

    code: str
    coupons: int


def campaign_approved(message: Inbound) -> commands.AddCouponBatch | None:
    """Make the coupons of a campaign available; ignore a campaign without coupons."""
    campaign = message.data(ApprovedCampaign)
    if campaign.coupons == 0:
        return None
    return commands.AddCouponBatch(reference=campaign.code, quantity=campaign.coupons)


SUBSCRIPTIONS = [
    Subscription(
        "campaigns",
        campaign_approved,
        exchange="marketing.events",
        routing_keys=["campaign.approved"],
        topic="marketing.approved-campaigns",
        relies_on=ApprovedCampaign,
    )
]
