"""Subscriptions: what other services publish, in their own words, becomes a command of ours.

The functions that translate are the anti-corruption layer of an application (Evans, *Domain-Driven
Design*, chapter 14). They belong in its entrypoints, so that no other module has to know what
others call things.
"""

import builtins
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from hashlib import sha256
from inspect import iscoroutinefunction
from types import NoneType
from typing import Any, TypeVar, get_args
from uuid import UUID

import msgspec

from aftercommit.codec import decode
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import InvalidPayload, WiringError, has_kind
from aftercommit.extensions.brokers.base import ReceivedMessage, text_of
from aftercommit.extensions.brokers.channel_names import Inlet, Start
from aftercommit.extensions.brokers.cloud_events import (
    CONTENT_TYPE,
    MAX_MESSAGE_BYTES,
    require_legible,
    well_formed_traceparent,
)
from aftercommit.extensions.brokers.exceptions import MessageTooLarge, UntranslatableMessage
from aftercommit.handler_binding import types_of

M = TypeVar("M")

NAME = re.compile("[a-z][a-z0-9_]{0,62}")
BINARY = re.compile(
    r"(?:ce[-_]|cloudevents[:_])(id|source|type|subject|traceparent|correlationid)", re.I
)
"""Headers of a CloudEvent in binary mode, as its bindings to Kafka, HTTP and AMQP call them."""
NO_ID = (
    "it has no id by which a repetition could be recognized; a subscription can say message_id=…, a"
    " function that takes one from the message"
)


class StructuredEvent(msgspec.Struct):
    """What is read of a CloudEvent in structured mode; its data are read when they are wanted."""

    id: str
    source: str
    type: str
    subject: str | None = None
    traceparent: str | None = None
    correlationid: Any = None  # another service may mean something else by it
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A message of another service, as it came.

    `key` is the routing key of RabbitMQ, or Kafka's key. `source`, `type` and `subject` are what a
    CloudEvent says, in structured or in binary mode, and None for all other messages. `id` is that
    of a CloudEvent, or AMQP's `message_id`, if there is one.

    >>> from dataclasses import dataclass
    >>> from aftercommit.extensions.brokers.subscriptions import Inbound
    >>> @dataclass
    ... class Payment:
    ...     amount: int
    >>> Inbound(body=b'{"amount": 7, "currency": "EUR"}').data(Payment)
    Payment(amount=7)
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    content_type: str | None = None
    id: str | None = None
    source: str | None = None
    type: str | None = None
    subject: str | None = None

    def data(self, of_type: builtins.type[M]) -> M:
        """Return what the message says: the data of a CloudEvent, the whole body of another one.

        `of_type` is a class with the fields that are relied on: a dataclass, a TypedDict, or what
        else msgspec reads. Fields that it does not have are ignored.

        :raises InvalidPayload: if one of its fields is missing or of another type
        """
        event = self.structured()
        return decode("a message", self.body if event is None else bytes(event.data), of_type)

    def structured(self) -> StructuredEvent | None:
        """Return it as a CloudEvent in structured mode, or None if it is none.

        :raises InvalidPayload: if it says that it is one, and is none
        """
        if not (self.content_type or "").lower().startswith(CONTENT_TYPE):
            return None
        return decode("a CloudEvent", self.body, StructuredEvent)


Translation = Callable[[Inbound], Any]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What another service publishes, and the function that turns it into a command of ours.

    `translate` is synchronous and without I/O. It returns the command, or None for a message that
    is none of our business, which is then acknowledged and counted. A message for which it raises
    an error becomes a dead letter with that reason, whatever error it is; one of the engine that
    says that something is unavailable lets the message wait.

    The messages come from Kafka's `topic`, from RabbitMQ's `exchange` by these `routing_keys`, or
    from either, whichever broker is configured. A group of Kafka that is new begins with the
    `start` of the topic, "earliest" or "latest"; what was published before our queue was bound,
    RabbitMQ does not have. Kafka's messages are handled in the order of their partitions; those of
    RabbitMQ one by one if they have to be `in_order`, and else in no order.

    A message is recognized when it comes again by its id: by what `message_id` returns, if it is
    given; else by the id that the message says; else, on Kafka, by its place in the topic. One
    without any id is a dead letter, and so is one with the id of another body.

    `relies_on` is the class that the translation reads data as. It is in the AsyncAPI document, and
    in the contract with the other team: see `aftercommit.testing.check_contract`.

    The queue, the group and the ids of messages are kept under the name of the subscription. One
    that gets another name says the first one in `renamed`, and goes on where it was.

    :raises WiringError: if it has no source, or cannot work as it is said

    >>> from aftercommit.extensions.brokers.subscriptions import Inbound, Subscription
    >>> from shop.domain.messages import CancelOrder
    >>> def payment_failed(message: Inbound) -> CancelOrder | None:
    ...     return CancelOrder(order_id=message.data(dict[str, str])["order"])
    >>> payments = Subscription(
    ...     "payments",
    ...     payment_failed,
    ...     exchange="payments.events",
    ...     routing_keys=["payment.failed"],
    ...     message_id=lambda message: message.data(dict[str, str])["payment_ref"],
    ... )
    """

    name: str
    translate: Translation
    _: KW_ONLY
    exchange: str | None = None
    routing_keys: Sequence[str] = ("#",)
    topic: str | None = None
    start: Start = "earliest"
    in_order: bool = False
    message_id: Callable[[Inbound], str | None] | None = None
    relies_on: type[Any] | None = None
    renamed: str | None = None

    def __post_init__(self) -> None:
        for name in filter(None, (self.name, self.renamed)):
            if not NAME.fullmatch(name):
                problem = "the name of a subscription is of lower-case letters, digits and _, not"
                raise WiringError(problem, repr(name))
        if self.exchange is None and self.topic is None:
            problem = "say from which exchange or topic messages come, in the subscription"
            raise WiringError(problem, self.name)
        if isinstance(self.routing_keys, str) or not self.routing_keys:
            problem = "`routing_keys` is a list of at least one, in the subscription"
            raise WiringError(problem, self.name)
        if self.start not in get_args(Start):
            raise WiringError("`start` is earliest or latest, in the subscription", self.name)
        if iscoroutinefunction(self.translate):
            problem = "a translation is a plain function (def), which waits for nothing, unlike"
            raise WiringError(problem, _name_of(self.translate))

    @property
    def source(self) -> str:
        """Where its messages come from, in the inbox and among the pauses."""
        return f"from.{self.renamed or self.name}"

    @property
    def origin(self) -> str:
        """Where its messages come from, for people."""
        keys = ", ".join(self.routing_keys)
        exchange = f"exchange {self.exchange} ({keys})" if self.exchange else ""
        return ", ".join(filter(None, (exchange, self.topic and f"topic {self.topic}")))

    def commands(self) -> Collection[type[Any]]:
        """Return the commands that the translation returns, by its annotation.

        :raises WiringError: if it says none
        """
        try:
            said = types_of(self.translate, "return", NoneType) - {NoneType}
        except Exception as error:
            problem = f"the return type cannot be read ({error})"
            raise WiringError(problem, _name_of(self.translate)) from error
        if not said or not all(isinstance(each, type) for each in said):
            problem = "a translation says which commands it returns, `-> TheCommand | None`, in"
            raise WiringError(problem, _name_of(self.translate))
        return said

    def inlet(self, application: str) -> Inlet:
        """Return where its messages come in."""
        queue = f"{application}.{self.source}"
        return Inlet(
            queue=queue if self.exchange else None,
            topic=self.topic,
            group=queue,
            dead_letters=f"{queue}.dead",
            exchange=self.exchange,
            routing_keys=tuple(self.routing_keys),
            start=self.start,
            in_order=self.in_order,
        )

    def read(self, received: ReceivedMessage) -> tuple[object, MessageOrigin] | None:
        """Return the command that a message means, and its origin; None if it means nothing to us.

        The fingerprint is that of the body: another version of the translation changes none.

        :raises InvalidMessage: if it cannot be read, or has no id
        """
        if len(received.body) > MAX_MESSAGE_BYTES:
            raise MessageTooLarge(len(received.body), MAX_MESSAGE_BYTES)
        came = _as_it_came(received)
        said = _attributes(came)
        message = replace(
            came,
            id=said.get("id", came.id),
            source=said.get("source"),
            type=said.get("type"),
            subject=said.get("subject"),
        )
        try:
            if (command := self.translate(message)) is None:
                return None
            derived = self.message_id(message) if self.message_id else message.id or received.place
        except Exception as error:
            if has_kind(error):
                raise
            raise UntranslatableMessage(self.name, error) from error
        if not (message_id := str(derived or "")):
            raise InvalidPayload("a message", NO_ID)
        require_legible("id", message_id)
        return command, MessageOrigin(
            source=self.source,
            id=message_id,
            fingerprint=sha256(received.body).hexdigest(),
            traceparent=well_formed_traceparent(said.get("traceparent")),
            correlation_id=_correlation_id(said.get("correlationid")),
        )


def _as_it_came(received: ReceivedMessage) -> Inbound:
    """Return a message without what only a CloudEvent says."""
    headers = {name: text_of(value) for name, value in received.headers.items()}
    return Inbound(
        body=received.body,
        headers=headers,
        key=received.key,
        content_type=received.properties.get("content_type") or headers.get("content-type"),
        id=received.properties.get("message_id"),
    )


def _attributes(message: Inbound) -> Mapping[str, Any]:
    """Return the attributes of a CloudEvent in either mode, and those of a trace also of others.

    :raises InvalidPayload: if it says that it is a CloudEvent, and is none
    """
    if event := message.structured():
        return msgspec.structs.asdict(event)
    headers = {each.lower(): value for each, value in message.headers.items()}
    of_trace = {name: headers[name] for name in ("traceparent", "correlationid") if name in headers}
    return of_trace | _in_binary_mode(headers)


def _correlation_id(said: object) -> UUID | None:
    """Return the trace that it belongs to, if its service has traces as we have them."""
    with suppress(ValueError):
        return UUID(str(said))
    return None


def _in_binary_mode(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of a CloudEvent that are headers."""
    return {each[1].lower(): headers[each[0]] for each in map(BINARY.fullmatch, headers) if each}


def _name_of(translate: Translation) -> str:
    return getattr(translate, "__name__", repr(translate))
