"""Says in a few words what a stored event is about, whatever event it is: for people to read."""

from collections.abc import Iterator, Mapping

import msgspec

from allocation.adapters import wire
from allocation.adapters.exceptions import InvalidMessage


def summary(name: str, version: int, data: str | None) -> str:
    """Return whom and what it is about, as far as its fields say: name, e-mail address, batch.

    It is empty if this process cannot read the event. A coupon's code is money, and never in it.
    """
    try:
        event = wire.read(name, version, data or "", wire.EVENT_TYPES[name])
    except (KeyError, InvalidMessage):
        return ""
    return " ".join(_words(msgspec.to_builtins(event)))


def _words(fields: Mapping[str, str]) -> Iterator[str]:
    addresses = " → ".join(value for name, value in fields.items() if name.endswith("email"))
    if "name" in fields:
        yield fields["name"]
    if addresses:
        yield f"<{addresses}>" if "name" in fields else addresses
    if "batch_reference" in fields:
        yield fields["batch_reference"] + ("-…" if "code" in fields else "")
