"""How messages are written: the names, versions and old forms of events, for all readers."""

from dataclasses import asdict

from aftercommit import Codec, message_types

from allocation.domain import events

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
    """Say whom and what an event is about, without a coupon's code, which is money."""
    found = asdict(event)  # type: ignore[call-overload]
    return " ".join(form.format(found[name]) for name, form in DESCRIBED.items() if name in found)


CODEC: Codec[events.Event] = Codec(
    source="/allocation",
    events=message_types(events, events.Event),
    upcasters=UPCASTERS,
    describe=describe,
)
