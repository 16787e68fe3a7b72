"""The messages as others see them: how events are written down, and which commands may be sent."""

from allocation.adapters.codec import Codec
from allocation.domain import commands, events
from allocation.service_layer.envelopes import message_types

CODEC = Codec(
    source="/allocation",
    events=message_types(events, events.Event),
    upcasters={
        # the worked example: version 1 had no name
        ("user_registered", 1): lambda old: {**old, "name": str(old["email"]).partition("@")[0]}
    },
)

ACCEPTED_FROM_BROKERS: tuple[type[commands.Command], ...] = (
    commands.RegisterUser,
    commands.ChangeEmail,
    commands.AddCouponBatch,
    # not RedeemCoupon: a code is money, it waits in no queue, and lies among no dead letters
)
"""The commands that others may send by a message broker; it refuses all others."""
