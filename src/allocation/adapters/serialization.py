"""The wire format: how messages are written down, for the database and for others.

The attributes are those of CloudEvents 1.0 (https://cloudevents.io). The wire name of a type is
made from its class name and never changes: a renamed class keeps it by `WIRE_NAME_ALIASES`. When
the fields of a message change, its version grows, and an upcaster turns the data of the version
before into those of the next, so that whatever was written is still read.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from allocation.adapters.exceptions import InvalidPayload, UnknownEventType
from allocation.domain import events
from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.service_layer.envelopes import Envelope, EventId, MessageContext, message_types
from allocation.service_layer.exceptions import WiringError

SOURCE = "/allocation"
CONTEXT = tuple(field.name for field in fields(MessageContext))  # columns of the same names
MAX_EVENT_LENGTH = 1_000_000  # characters of JSON: what is longer belongs elsewhere

M = TypeVar("M")

WIRE_NAME_ALIASES: dict[str, str] = {}
"""Class name → wire name: for classes that were renamed, since the wire name never changes."""


def wire_name(message_type: type) -> str:
    """Return what a message type is called on the wire: UserRegistered is user_registered."""
    name = message_type.__name__
    return WIRE_NAME_ALIASES.get(name) or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


EVENT_TYPES = {wire_name(event): event for event in message_types(events, Event)}

Data = dict[str, Any]

UPCASTERS: dict[tuple[str, int], Callable[[Data], Data]] = {
    # the worked example: version 1 had no name
    ("user_registered", 1): lambda old: {**old, "name": str(old["email"]).partition("@")[0]}
}
"""Wire name and old version → what makes the data those of the next version."""


def version_of(name: str) -> int:
    """Return the present version of a message: one more than the newest that is upcast."""
    return 1 + max((old for known, old in UPCASTERS if known == name), default=0)


def to_row(envelope: Envelope) -> Data:
    """Return the columns of the events table for `envelope`.

    :raises WiringError: if nobody could read it: its class is not where it is looked for
    :raises InvalidPayload: if it is too long
    """
    name = wire_name(type(envelope.event))
    if EVENT_TYPES.get(name) is not type(envelope.event):
        raise WiringError("events that are not in domain/events.py", type(envelope.event).__name__)
    data = msgspec.json.encode(envelope.event).decode()
    if len(data) > MAX_EVENT_LENGTH:
        raise InvalidPayload(name, f"{len(data)} characters; there may be {MAX_EVENT_LENGTH}")
    return {
        "id": envelope.id,
        "source": SOURCE,
        "type": name,
        "schema_version": version_of(name),
        "subject": envelope.subject,
        "time": envelope.time,
        "data": data,
        **{name: getattr(envelope.context, name) for name in CONTEXT},
    }


def from_row(row: Mapping[Any, Any]) -> Envelope:
    """Return the envelope that was stored as `row`; each value may also be text.

    :raises UnknownEventType: if no event has this wire name
    :raises InvalidPayload: if no envelope can be made of what is stored, whatever is wrong with it
    """
    name = row["type"]
    if name not in EVENT_TYPES:
        raise UnknownEventType(name)
    try:
        time = datetime.fromisoformat(str(row["time"]))
        context = {name: row[name] for name in CONTEXT}
        around: Data = {
            "id": EventId(UUID(str(row["id"]))),
            "subject": row["subject"],
            "time": time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC),
            "context": msgspec.convert(context, MessageContext, strict=False),
        }
        version = int(row["schema_version"])
    except (ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise InvalidPayload("an event", str(error)) from error
    try:
        return Envelope(event=read(name, version, row["data"], EVENT_TYPES[name]), **around)
    except InvalidPayload:
        raise
    except Exception as error:  # in an upcaster, or in the class of the event
        raise InvalidPayload(name, f"{type(error).__name__}: {error}") from error


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


def fingerprint(command: Command) -> str:
    """Return what tells commands apart that say different things, however they are spelled."""
    said = msgspec.json.encode([wire_name(type(command)), msgspec.to_builtins(command)])
    return sha256(said).hexdigest()
