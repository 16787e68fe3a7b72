"""The wire format: how messages are written down, for the database and for others.

The attributes are those of CloudEvents 1.0 (https://cloudevents.io). The wire name of a type is
made from its class name and never changes: a renamed class keeps it by `RENAMED`. When the fields
of a message change, its version grows, and an upcaster turns the data of the version before into
those of the next, so that whatever was written is still read.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from allocation.adapters.exceptions import InvalidPayload, UnknownEventType
from allocation.domain import commands, events
from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.service_layer.envelopes import Envelope, MessageContext
from allocation.service_layer.exceptions import WiringError
from allocation.service_layer.wiring import types_in

SOURCE = "/allocation"

M = TypeVar("M")

RENAMED: dict[str, str] = {}
"""Class name → wire name: for classes that were renamed, since the wire name never changes."""


def wire_name(message_type: type) -> str:
    """Return what a message type is called on the wire: UserRegistered is user_registered."""
    name = message_type.__name__
    return RENAMED.get(name) or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


EVENT_TYPES = {wire_name(event): event for event in types_in(events, Event)}
COMMAND_TYPES = {wire_name(command): command for command in types_in(commands, Command)}

Data = dict[str, Any]

UPCASTERS: dict[tuple[str, int], Callable[[Data], Data]] = {
    # the worked example: version 1 had no name
    ("user_registered", 1): lambda old: {**old, "name": str(old["email"]).partition("@")[0]},
}
"""Wire name and old version → what makes the data those of the next version."""


def version_of(name: str) -> int:
    """Return the present version of a message: one more than the newest that is upcast."""
    return 1 + max((old for known, old in UPCASTERS if known == name), default=0)


def check(message_types: Iterable[type]) -> None:
    """Find out, before any is stored, whether all of these can be written down and read back.

    :raises WiringError: if one is not, or its class is not where stored ones are looked for
    """
    for message_type in message_types:
        try:
            _check_fields(message_type)
        except (TypeError, ValueError, NameError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise WiringError(f"{message_type.__name__} cannot be stored", reason) from error
        _check_known(message_type)


def _check_fields(message_type: type) -> None:
    if "__dataclass_fields__" not in vars(message_type):  # its parent's do not count
        raise TypeError("it is not decorated with @dataclass")
    msgspec.json.schema(message_type)
    msgspec.json.Decoder(message_type)
    if "AnyType()" in repr(msgspec.inspect.type_info(message_type)):
        raise TypeError("of a field, or of what is in it, nobody can tell the type")


def _check_known(message_type: type) -> None:
    if message_type not in (*EVENT_TYPES.values(), *COMMAND_TYPES.values()):
        where = "domain/events.py or domain/commands.py"
        raise WiringError(f"messages that are not in {where}", message_type.__name__)


def to_row(envelope: Envelope) -> Data:
    """Return the columns of the events table for `envelope`.

    :raises WiringError: if nobody could read it: its class is not where it is looked for
    """
    _check_known(type(envelope.event))
    name = wire_name(type(envelope.event))
    return {
        "id": envelope.id,
        "source": SOURCE,
        "type": name,
        "schema_version": version_of(name),
        "subject": envelope.subject,
        "time": envelope.time,
        "correlation_id": envelope.context.correlation_id,
        "causation_id": envelope.context.causation_id,
        "handler": envelope.context.handler,
        "traceparent": envelope.context.traceparent,
        "data": msgspec.json.encode(envelope.event).decode(),
    }


def from_row(row: Data) -> Envelope:
    """Return the envelope that was stored as `row`.

    :raises UnknownEventType: if no event has this wire name
    :raises InvalidPayload: if the data do not fit the event
    """
    if row["type"] not in EVENT_TYPES:
        raise UnknownEventType(row["type"])
    return Envelope(
        id=row["id"],
        event=read(row["type"], row["schema_version"], row["data"], EVENT_TYPES[row["type"]]),
        subject=row["subject"],
        time=row["time"],
        context=MessageContext(
            correlation_id=row["correlation_id"],
            causation_id=row["causation_id"],
            handler=row["handler"],
            traceparent=row["traceparent"],
        ),
    )


def read(name: str, version: int, data: str | bytes, message_type: type[M]) -> M:
    """Return the message of this wire name and version.

    :raises InvalidPayload: if there is no such version, or the data do not fit
    """
    present = version_of(name)
    if version == present:
        return decode(name, data, message_type)
    if not 1 <= version < present:
        reason = f"its version {version} is not known, only those up to {present}"
        raise InvalidPayload(name, reason)
    fields: Data = decode(name, data, dict)
    try:
        for old in range(version, present):
            fields = UPCASTERS[name, old](fields)
        return msgspec.convert(fields, message_type)
    except (msgspec.MsgspecError, KeyError) as error:
        raise InvalidPayload(name, f"version {version}: {error}") from error


def decode(name: str, data: str | bytes, message_type: type[M]) -> M:
    """Return what some JSON says, or raise InvalidPayload."""
    try:
        return msgspec.json.decode(data, type=message_type)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidPayload(name, str(error)) from error
