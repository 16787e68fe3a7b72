"""The messages on a broker: CloudEvents 1.0 (https://cloudevents.io) in structured JSON.

They carry our own extension attributes `correlationid`, `causationid` and `schemaversion`, and
three of CloudEvents' documented extensions: `traceparent`, the span in which an event was
committed, `partitionkey` and `sequence`.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from aftercommit.codec import Codec, decode, fingerprint
from aftercommit.envelopes import Envelope, MessageContext, MessageOrigin
from aftercommit.errors import InvalidPayload
from aftercommit.extensions.brokers.exceptions import MessageTooLarge, UnknownCommandType

Accepted = Mapping[str, type[Any]]
"""The commands that others may send, by wire name; all others become dead letters."""

CONTENT_TYPE = "application/cloudevents+json"
MAX_MESSAGE_BYTES = 65_536  # of a command: a hundred times what one needs, as over HTTP
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's controls, formats, surrogates, separators
MAX_BYTES = 500  # of an id, and of a source: PostgreSQL's index takes 2704 for both together
Attribute = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_BYTES,
        description=f"At most {MAX_BYTES} bytes of UTF-8, without control and invisible characters"
        f" (of the Unicode categories {', '.join(sorted(INVISIBLE))}).",
    ),
]

TraceParent = Annotated[
    str, Meta(description="As the header of W3C Trace Context; a value of another form is ignored")
]
PartitionKey = Annotated[
    str, Meta(description="The key of the order: events with the same key belong together")
]
Sequence = Annotated[
    str,
    Meta(
        description="Grows, as a text, from event to event with the same `partitionkey`, and has"
        " gaps; only if these are published in order"
    ),
]
DIGITS = 20
W3C_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class CloudEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A message on a broker: CloudEvents 1.0 in structured JSON."""

    specversion: Literal["1.0"]
    id: Attribute
    source: Attribute
    type: Attribute
    subject: str | None = None
    time: datetime | None = None
    datacontenttype: Annotated[str, Meta(pattern=r"^application/json($|;)")] | None = None
    correlationid: UUID | None = None
    causationid: UUID | None = None
    traceparent: TraceParent | None = None
    schemaversion: Annotated[int, Meta(ge=1)] = 1
    partitionkey: PartitionKey | None = None
    sequence: Sequence | None = None
    data: msgspec.Raw


def to_cloud_event(envelope: Envelope) -> bytes:
    """Return the message that publishes an event."""
    message = CloudEvent(
        specversion="1.0",
        id=str(envelope.id),
        source=envelope.source,
        type=envelope.type,
        subject=envelope.subject,
        time=envelope.time,
        datacontenttype="application/json",
        correlationid=envelope.context.correlation_id,
        causationid=envelope.context.causation_id,
        traceparent=envelope.context.traceparent,
        schemaversion=envelope.schema_version,
        partitionkey=envelope.key or envelope.subject,
        sequence=None if envelope.position is None else f"{envelope.position:0{DIGITS}}",
        data=msgspec.Raw(msgspec.json.encode(envelope.event)),
    )
    return msgspec.json.encode(message)


def to_command(
    *,
    id: str,  # noqa: A002 - as CloudEvents call it
    source: str,
    type: str,  # noqa: A002
    schema_version: int,
    data: object,
    context: MessageContext | None,
    traceparent: str | None,
) -> bytes:
    """Return the message that tells another service to do something.

    :raises MessageTooLarge: if it has more than `MAX_MESSAGE_BYTES`, which no service would take
    """
    message = CloudEvent(
        specversion="1.0",
        id=id,
        source=source,
        type=type,
        datacontenttype="application/json",
        correlationid=context.correlation_id if context else None,
        causationid=context.causation_id if context else None,
        traceparent=traceparent,
        schemaversion=schema_version,
        # a set has another order in each process, and a repetition has to say the same
        data=msgspec.Raw(msgspec.json.encode(data, order="deterministic")),
    )
    body = msgspec.json.encode(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(len(body), MAX_MESSAGE_BYTES)
    return body


def from_cloud_event(
    body: bytes, codec: Codec[object], accepted: Accepted
) -> tuple[object, MessageOrigin]:
    """Return the command in a message, and what there is to know about the message.

    Its length is checked first, before more expensive steps.

    :raises MessageTooLarge: if it has more than `MAX_MESSAGE_BYTES`
    :raises UnknownCommandType: if no command that others may send has this wire name
    :raises InvalidPayload: if it is no CloudEvent, or if its data do not fit the command
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(len(body), MAX_MESSAGE_BYTES)
    message = decode("a command", body, CloudEvent)
    require_legible("id", message.id)
    require_legible("source", message.source)
    if message.type not in accepted:
        raise UnknownCommandType(message.type)
    of_type, data = accepted[message.type], bytes(message.data)
    command = codec.read(message.type, message.schemaversion, data, of_type)
    return command, MessageOrigin(
        source=message.source,
        id=message.id,
        fingerprint=fingerprint(f"{message.type} {message.schemaversion}", data),
        traceparent=well_formed_traceparent(message.traceparent),
        correlation_id=message.correlationid,
    )


def well_formed_traceparent(traceparent: str | None) -> str | None:
    """Return it, or None if it is malformed; then W3C asks for a new trace, not for a refusal."""
    return traceparent if traceparent and W3C_FORM.fullmatch(traceparent) else None


def require_legible(attribute: str, text: str) -> None:
    """Refuse an id or a source that nobody could read or search for.

    :raises InvalidPayload: if it has an invisible character, or more than `MAX_BYTES`
    """
    if any(unicodedata.category(character) in INVISIBLE for character in text):
        raise InvalidPayload("a message", f"its {attribute} contains an invisible character")
    if len(text.encode()) > MAX_BYTES:
        raise InvalidPayload("a message", f"its {attribute} has more than {MAX_BYTES} bytes")
