"""The messages as others see them: how events are written down, and which commands may be sent."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from aftercommit import Codec, message_types

from allocation.domain import commands, events

UPCASTERS = {
    # the worked example: version 1 had no name
    ("user_registered", 1): lambda old: {**old, "name": str(old["email"]).partition("@")[0]}
}


DESCRIBED = {
    "name": "{}",
    "email": "<{}>",
    "old_email": "{} →",
    "new_email": "{}",
    "batch_reference": "{}",
}


def describe(event: events.Event) -> str:
    """Say whom and what an event is about. A coupon's code is money, and not among it."""
    found = asdict(event)  # type: ignore[call-overload]
    return " ".join(form.format(found[name]) for name, form in DESCRIBED.items() if name in found)


CODEC: Codec[events.Event] = Codec(
    source="/allocation",
    events=message_types(events, events.Event),
    upcasters=UPCASTERS,
    describe=describe,
)

ACCEPTED_FROM_BROKERS: tuple[type[commands.Command], ...] = (
    commands.RegisterUser,
    commands.ChangeEmail,
    commands.AddCouponBatch,
    # not RedeemCoupon: a code is money, it waits in no queue, and lies among no dead letters
)
"""The commands that others may send by a message broker; it refuses all others."""

USER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")
EXAMPLE_VALUES: Mapping[str, Any] = {
    "batch_reference": "WELCOME",
    "code": "WELCOME-0123456789ABCDEF",
    "email": "ivan@example.com",
    "name": "Иван",
    "new_email": "ivan@example.org",
    "old_email": "ivan@example.com",
    "quantity": 100,
    "redemption_id": UUID("0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69"),
    "reference": "WELCOME",
    "user_id": events.UserId(USER),
    "subject": USER,
    "coupon_denied.subject": "WELCOME",  # recorded by the batch
}
"""What messages hold in the examples of the AsyncAPI document: see `BrokersExtension`."""
