"""The messages as others see them: how events are written down, and which commands may be sent."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from allocation.domain import commands, events
from allocation.service_layer.codec import Codec, Upcaster
from allocation.service_layer.envelopes import message_types
from allocation.user_import.model import UsersImported

UPCASTERS: dict[tuple[str, int], Upcaster] = {
    # the worked example: version 1 had no name
    ("user_registered", 1): lambda old: {**old, "name": str(old["email"]).partition("@")[0]}
}


def describe(event: events.Event) -> str:
    """Say whom and what an event is about, as far as its fields do: name, address, batch.

    A coupon's code is money, and never in it.
    """
    return " ".join(_words(asdict(event)))  # type: ignore[call-overload]


def _words(fields: Mapping[str, str]) -> Iterator[str]:
    addresses = " → ".join(value for name, value in fields.items() if name.endswith("email"))
    if "name" in fields:
        yield fields["name"]
    if addresses:
        yield f"<{addresses}>" if "name" in fields else addresses
    if "batch_reference" in fields:
        yield fields["batch_reference"] + ("-…" if "code" in fields else "")


EVENTS = [*message_types(events, events.Event), UsersImported]
CODEC = Codec(source="/allocation", events=EVENTS, upcasters=UPCASTERS, describe=describe)

ACCEPTED_FROM_BROKERS: tuple[type[commands.Command], ...] = (
    commands.RegisterUser,
    commands.ChangeEmail,
    commands.AddCouponBatch,
    # not RedeemCoupon: a code is money, it waits in no queue, and lies among no dead letters
)
"""The commands that others may send by a message broker; it refuses all others."""
