"""The messages as others see them: how events are written down, and which commands may be sent."""

from allocation.domain import commands, events
from allocation.service_layer.codec import Codec, Upcaster
from allocation.service_layer.envelopes import message_types

UPCASTERS: dict[tuple[str, int], Upcaster] = {
    # the worked example: version 1 had no name
    ("user_registered", 1): lambda old: {**old, "name": str(old["email"]).partition("@")[0]}
}
CODEC: Codec[events.Event] = Codec(
    source="/allocation", events=message_types(events, events.Event), upcasters=UPCASTERS
)

ACCEPTED_FROM_BROKERS: tuple[type[commands.Command], ...] = (
    commands.RegisterUser,
    commands.ChangeEmail,
    commands.AddCouponBatch,
    # not RedeemCoupon: a code is money, it waits in no queue, and lies among no dead letters
)
"""The commands that others may send by a message broker; it refuses all others."""
