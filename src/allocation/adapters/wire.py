"""The wire format: how events are written down, for the database and for brokers.

The attributes of an envelope are those of CloudEvents 1.0 (https://cloudevents.io). The wire name
of a type never changes, whatever happens to the class.
"""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import msgspec

from allocation.domain.events import (
    CouponAllocated,
    EmailChanged,
    Event,
    OutOfCoupons,
    UserRegistered,
)
from allocation.domain.exceptions import InvalidPayload, UnknownEventType
from allocation.service_layer.delivery import Cause, Envelope

SOURCE = "/allocation"

EVENT_TYPES: dict[str, type[Event]] = {
    "user_registered": UserRegistered,
    "email_changed": EmailChanged,
    "coupon_allocated": CouponAllocated,
    "out_of_coupons": OutOfCoupons,
}
_WIRE_NAMES = {event_type: name for name, event_type in EVENT_TYPES.items()}


def to_row(envelope: Envelope) -> dict[str, Any]:
    """Return the columns of the events table for `envelope`."""
    return {
        "id": envelope.id,
        "source": SOURCE,
        "type": _WIRE_NAMES[type(envelope.event)],
        "subject": envelope.subject,
        "time": envelope.time,
        "correlation_id": envelope.cause.correlation_id,
        "causation_id": envelope.cause.causation_id,
        "data": msgspec.json.encode(envelope.event).decode(),
    }


def from_row(row: Mapping[str, Any]) -> Envelope:
    """Return the envelope that was stored as `row`.

    :raises UnknownEventType: if no event has this wire name
    :raises InvalidPayload: if the data do not fit the event
    """
    return Envelope(
        id=row["id"],
        event=_event(row["type"], row["data"]),
        subject=row["subject"],
        time=row["time"].replace(tzinfo=UTC),
        cause=Cause(correlation_id=row["correlation_id"], causation_id=row["causation_id"]),
    )


def _event(wire_name: str, data: str) -> Event:
    if wire_name not in EVENT_TYPES:
        raise UnknownEventType(wire_name)
    try:
        return msgspec.json.decode(data, type=EVENT_TYPES[wire_name])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidPayload(wire_name, str(error)) from error
