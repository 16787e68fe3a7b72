"""The AsyncAPI 3.0 document: every message that is published or consumed, with schema and example.

Made from the same classes and tables that read and write the messages, so it cannot lag behind.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from inspect import signature
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from allocation.adapters import wire
from allocation.adapters.brokers.base import COMMANDS, DEAD_COMMANDS, DELIVERY_LIMIT, EVENTS
from allocation.adapters.brokers.cloud_events import CONTENT_TYPE, CloudEvent, to_cloud_event
from allocation.domain.commands import Command
from allocation.domain.events import Event, UserId
from allocation.service_layer.envelopes import Envelope, EventId, MessageContext
from allocation.service_layer.exceptions import WiringError

M = TypeVar("M", bound=Event | Command)

Json = dict[str, Any]

USER_ID = UserId(UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"))
MESSAGE_ID = UUID("0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69")

FIELDS: dict[str, Any] = {
    "batch_reference": "WELCOME",
    "code": "WELCOME-0123456789ABCDEF",
    "email": "ivan@example.com",
    "name": "Иван",
    "new_email": "ivan@example.org",
    "old_email": "ivan@example.com",
    "quantity": 100,
    "reference": "WELCOME",
    "user_id": USER_ID,
}
"""What the fields of messages hold in the examples: a field means the same in each of them."""


def published_language(public_events: Sequence[type[Event]]) -> str:
    """Return the document, as JSON: what others may rely on."""
    return msgspec.json.format(msgspec.json.encode(document(public_events))).decode()


def document(public_events: Sequence[type[Event]]) -> Json:
    """Return the document; `public_events` are those that are published."""
    events = {n: t for n, t in wire.EVENT_TYPES.items() if t in public_events}
    messages = {
        name: _message(name, type_) for name, type_ in (events | wire.COMMAND_TYPES).items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "allocation",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 in structured JSON, over RabbitMQ and Kafka. Each"
            " message has a version of its own, `schemaversion`: it grows when a field changes.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            "events": _channel(EVENTS, events, amqp=_exchange(EVENTS)),
            "commands": _channel(COMMANDS, wire.COMMAND_TYPES, amqp=_queue(COMMANDS))
            | {
                "description": "On RabbitMQ a quorum queue whose x-delivery-limit is"
                f" {DELIVERY_LIMIT}; what exceeds it is dead-lettered at least once to"
                f" {DEAD_COMMANDS} by the default exchange. A queue that is there already is used"
                " as it is."
            },
            "deadCommands": _channel(DEAD_COMMANDS, {}, amqp=_queue(DEAD_COMMANDS))
            | {
                "description": "Commands that cannot be read or were refused for good: the same"
                " body and headers, and two headers more, allocation-error, a stable name, and"
                " allocation-reason. What RabbitMQ has moved there by itself has x-death."
            },
        },
        "operations": {
            "publishEvents": _operation("send", "events", events)
            | {
                "description": "At least once; `id` stays the same. On RabbitMQ the routing key is"
                " the type, on Kafka the key is the subject."
            },
            "consumeCommands": _operation("receive", "commands", wire.COMMAND_TYPES)
            | {"description": "At most one effect for each `source` and `id`."},
        },
        "components": {"messages": messages},
    }


def example_of(type_: type[M]) -> M:
    """Return a message of this type.

    :raises WiringError: if nobody has said what one of its fields may hold
    """
    names = signature(type_).parameters
    if missing := names.keys() - FIELDS.keys():
        where = "FIELDS of src/allocation/adapters/brokers/asyncapi.py"
        raise WiringError(f"fields of {type_.__name__} without an example in {where}", *missing)
    return type_(**{name: FIELDS[name] for name in names})


def _message(name: str, type_: type[Event] | type[Command]) -> Json:
    return {
        "name": name,
        "summary": str(type_.__doc__),
        "contentType": CONTENT_TYPE,
        "payload": _payload(name, type_),
        "examples": [{"name": "example", "payload": _example(name, example_of(type_))}],
    }


def _payload(name: str, type_: type) -> Json:
    schema = _schema(CloudEvent)
    fixed = {
        "type": {"const": name},
        "schemaversion": {"const": wire.version_of(name)},
        "data": _schema(type_),
    }
    required = [*schema["required"], *(["schemaversion"] if wire.version_of(name) > 1 else [])]
    return schema | {"properties": schema["properties"] | fixed, "required": required}


def _schema(type_: type) -> Json:
    (_,), components = msgspec.json.schema_components([type_])
    return {key: value for key, value in components[type_.__name__].items() if key != "title"}


def _example(name: str, message: Event | Command) -> Json:
    if isinstance(message, Event):
        context = MessageContext(correlation_id=MESSAGE_ID, causation_id=MESSAGE_ID)
        envelope = Envelope(
            id=EventId(MESSAGE_ID),
            event=message,
            subject=str(USER_ID),
            time=datetime(2026, 1, 1, tzinfo=UTC),
            context=context,
        )
        encoded = to_cloud_event(envelope)
    else:
        command = CloudEvent(
            specversion="1.0",
            id=str(MESSAGE_ID),
            source="/shop",
            type=name,
            data=msgspec.Raw(msgspec.json.encode(message)),
        )
        encoded = msgspec.json.encode(command)
    example: Json = msgspec.json.decode(encoded)
    return example


def _channel(address: str, types: dict[str, Any], *, amqp: Json) -> Json:
    references = {name: {"$ref": f"#/components/messages/{name}"} for name in types}
    bindings = {"amqp": amqp, "kafka": {"topic": address}}
    return {"address": address, "messages": references, "bindings": bindings}


def _exchange(name: str) -> Json:
    return {"is": "routingKey", "exchange": {"name": name, "type": "topic", "durable": True}}


def _queue(name: str) -> Json:
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return {"is": "queue", "queue": queue}


def _operation(action: str, channel: str, types: dict[str, Any]) -> Json:
    reference = f"#/channels/{channel}"
    messages = [{"$ref": f"{reference}/messages/{name}"} for name in types]
    return {"action": action, "channel": {"$ref": reference}, "messages": messages}
