"""The AsyncAPI 3.0 document: every message that is published or consumed, with schema and example.

It is made from the classes and tables that read and write the messages, so it is always current.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from inspect import signature
from typing import Any, TypeVar, get_type_hints
from uuid import UUID, uuid5

import msgspec

from aftercommit.codec import Codec
from aftercommit.envelopes import Envelope, EventId, MessageContext
from aftercommit.errors import WiringError
from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.brokers.base import DELIVERY_LIMIT
from aftercommit.extensions.brokers.channel_names import Channels, Inlet
from aftercommit.extensions.brokers.cloud_events import CONTENT_TYPE, CloudEvent, to_cloud_event
from aftercommit.extensions.brokers.subscriptions import Subscription
from aftercommit.process.app import App

M = TypeVar("M")

Json = dict[str, Any]

MESSAGE_ID = UUID("0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69")

ALL = (
    "CloudEvents 1.0 in structured JSON, over RabbitMQ and Kafka. Each message has its own"
    " version, `schemaversion`, which grows when a field changes."
)
OF_EVENTS = "Events of this service, for all who want to know."
OF_COMMANDS = (
    "On RabbitMQ a quorum queue whose x-delivery-limit is {}; a message that exceeds it is"
    " dead-lettered at least once to {} by the default exchange. An existing queue is used"
    " as it is."
)
OF_DEAD_COMMANDS = (
    "Commands that cannot be read or were refused for good: the same body and headers, and two"
    " more headers: {}, a stable name, and {}. Messages that RabbitMQ itself"
    " has moved there have x-death. On RabbitMQ a quorum queue with an x-delivery-limit of -1."
)
PUBLISHING = (
    "At least once; `id` stays the same. On RabbitMQ the routing key is the type, on Kafka the key"
    " is `partitionkey`. Events with a `sequence` arrive in its order, for each key."
)
SUBSCRIBING = (
    "What another service publishes there becomes a command. At most one effect for each message,"
    " by its id or its place in a topic. A message that cannot be read is in {}."
)
SCHEMAS = "#/components/schemas/{name}"
OF_OTHERS = "What another service publishes. It has the fields shown here, and perhaps others."
CONSUMING = "At most one effect for each `source` and `id`."


def published_language(app: App[Any]) -> str:
    """Return the document, as JSON: what others may rely on."""
    codec, brokers = app.codec(), app.extension(BrokersExtension)
    values = brokers.example_values
    events = {codec.name_of(each): each for each in app.handlers().public_events}
    accepted = {codec.name_of(each): each for each in brokers.accepted}
    payloads = {n: _example_of_event(codec, n, t, values) for n, t in events.items()}
    payloads |= {n: _example_of_command(n, t, values) for n, t in accepted.items()}
    types = events | accepted
    messages = {n: _message(codec, n, types[n], each) for n, each in payloads.items()}
    own = Channels(app.name)
    of_commands = OF_COMMANDS.format(DELIVERY_LIMIT, own.dead_letters)
    of_dead_commands = OF_DEAD_COMMANDS.format(own.header("error"), own.header("reason"))
    topic_exchange = {"name": own.events, "type": "topic", "durable": True}
    exchange = {"is": "routingKey", "exchange": topic_exchange}
    dead_letter_queue = _queue(own.dead_letters)
    relied_on = [each.relies_on for each in brokers.subscriptions if each.relies_on]
    _, read = msgspec.json.schema_components(relied_on, ref_template=SCHEMAS)
    subscribed = {each.source: _subscribed(each) for each in brokers.subscriptions}
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": app.name, "version": "1.0.0", "description": ALL},
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            "events": _channel(own.events, events, exchange, OF_EVENTS),
            "commands": _channel(own.commands, accepted, _queue(own.commands), of_commands),
            "deadCommands": _channel(own.dead_letters, (), dead_letter_queue, of_dead_commands),
            **{
                each.source: _channel_of_others(each.source, each.inlet(app.name))
                for each in brokers.subscriptions
            },
        },
        "operations": {
            "publishEvents": _operation("send", "events", events, PUBLISHING),
            "consumeCommands": _operation("receive", "commands", accepted, CONSUMING),
            **{
                each.source: _operation(
                    "receive",
                    each.source,
                    [each.source],
                    SUBSCRIBING.format(each.inlet(app.name).dead_letters),
                )
                for each in brokers.subscriptions
            },
        },
        "components": {"messages": messages | subscribed, **({"schemas": read} if read else {})},
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def example_of(type_: type[M], values: Mapping[str, Any]) -> M:
    """Return a message of this type with these values: see `BrokersExtension`.

    :raises WiringError: if `EXAMPLE_VALUES` has no value for one of its fields, other than an id
    """
    names, hints = signature(type_).parameters, get_type_hints(type_).items()
    ids = {name for name, hint in hints if getattr(hint, "__supertype__", hint) is UUID}
    values = {name: uuid5(MESSAGE_ID, name) for name in ids} | {**values}
    if missing := names.keys() - values.keys():
        problem = f"`EXAMPLE_VALUES` has no value for fields of {type_.__name__}"
        raise WiringError(problem, *missing)
    return type_(**{name: values[name] for name in names})


def _message(codec: Codec[object], name: str, type_: type, example: Json) -> Json:
    return {
        "name": name,
        "summary": str(type_.__doc__),
        "contentType": CONTENT_TYPE,
        "payload": _payload(codec, name, type_),
        "examples": [{"name": "example", "payload": example}],
    }


def _payload(codec: Codec[object], name: str, type_: type) -> Json:
    schema, version = _schema(CloudEvent), codec.version_of(name)
    schema["properties"] |= {
        "type": {"const": name},
        "schemaversion": {"const": version},
        "data": _schema(type_),
    }
    schema["required"] += ["schemaversion"] if version > 1 else []
    return schema


def _schema(type_: type) -> Json:
    _, components = msgspec.json.schema_components([type_])
    return {key: value for key, value in components[type_.__name__].items() if key != "title"}


def _example_of_command(name: str, type_: type, values: Mapping[str, Any]) -> Json:
    required = {"specversion": "1.0", "id": MESSAGE_ID, "source": "/shop", "type": name}
    return required | {"data": msgspec.to_builtins(example_of(type_, values))}


def _example_of_event(
    codec: Codec[object], name: str, type_: type, values: Mapping[str, Any]
) -> Json:
    envelope = Envelope(
        id=EventId(MESSAGE_ID),
        source=codec.source,
        type=name,
        schema_version=codec.version_of(name),
        event=example_of(type_, values),
        subject=str(values.get(f"{name}.subject", values["subject"])),
        time=datetime(2026, 1, 1, tzinfo=UTC),
        context=MessageContext(correlation_id=MESSAGE_ID, causation_id=MESSAGE_ID),
    )
    example: Json = msgspec.json.decode(to_cloud_event(envelope))
    return example


def _channel(address: str, names: Collection[str], amqp: Json, description: str) -> Json:
    return {
        "address": address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"amqp": amqp, "kafka": {"topic": address}},
        "description": description,
    }


def _channel_of_others(source: str, inlet: Inlet) -> Json:
    """Return where another service publishes: its exchange, its topic, or either."""
    exchange = {"name": inlet.exchange, "type": "topic", "durable": True}
    amqp = {"amqp": {"is": "routingKey", "exchange": exchange}} if inlet.exchange else {}
    kafka = {"kafka": {"topic": inlet.topic}} if inlet.topic else {}
    keys = f" Routing keys: {', '.join(inlet.routing_keys)}." if inlet.exchange else ""
    return {
        "address": inlet.exchange or inlet.topic,
        "messages": {source: {"$ref": f"#/components/messages/{source}"}},
        "bindings": {**amqp, **kafka},
        "description": OF_OTHERS + keys,
    }


def _subscribed(subscription: Subscription) -> Json:
    """Return the fields on which we rely in the messages of another service."""
    said = [subscription.relies_on] if subscription.relies_on else []
    schemas, _ = msgspec.json.schema_components(said, ref_template=SCHEMAS)
    summary = str(subscription.translate.__doc__ or subscription.name).partition("\n")[0]
    payload = dict(*schemas) or {"type": "object"}
    return {"name": subscription.source, "summary": summary, "payload": payload}


def _queue(name: str) -> Json:
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return {"is": "queue", "queue": queue}


def _operation(action: str, channel: str, names: Collection[str], description: str) -> Json:
    reference = f"#/channels/{channel}"
    return {
        "action": action,
        "channel": {"$ref": reference},
        "messages": [{"$ref": f"{reference}/messages/{name}"} for name in names],
        "description": description,
    }
