"""Subscriptions: what other services publish, in their own words, becomes a command of ours.

The functions that translate are the anti-corruption layer of an application (Evans, *Domain-Driven
Design*, chapter 14). They belong in its entrypoints, so that no other module has to know the terms
of other services.
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
from aftercommit.errors import InvalidPayload, WiringError, is_away, is_permanent
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
from aftercommit.handler_containment import contain

M = TypeVar("M")

NAME = re.compile("[a-z][a-z0-9_]{0,62}")
BINARY = re.compile(
    r"(?:ce[-_]|cloudevents[:_])(id|source|type|subject|traceparent|correlationid)", re.I
)
"""The headers of a CloudEvent in binary mode, in its bindings to Kafka, HTTP and AMQP."""
NO_ID = (
    "it has no id by which a repetition could be recognized; give the subscription message_id=…, a"
    " function that takes an id from the message"
)


class StructuredEvent(msgspec.Struct):
    """The parts read of a CloudEvent in structured mode; its data are decoded when asked for."""

    id: str
    source: str
    type: str
    subject: str | None = None
    traceparent: str | None = None
    correlationid: Any = None  # another service may use this attribute for something else
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A message of another service, as it was received.

    `key` is the routing key of RabbitMQ, or Kafka's key. `source`, `type` and `subject` are the
    attributes of a CloudEvent, in structured or in binary mode, and None for all other messages.
    `id` is the CloudEvent's id, or AMQP's `message_id`, if there is one.

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
        """Return the message's data: those of a CloudEvent, or else the whole body.

        `of_type` is a class with the fields you rely on: a dataclass, a TypedDict, or another type
        that msgspec reads. All other fields are ignored.

        :raises InvalidPayload: if one of these fields is missing or has another type
        """
        event = self.structured()
        return decode("a message", self.body if event is None else bytes(event.data), of_type)

    def structured(self) -> StructuredEvent | None:
        """Return it as a CloudEvent in structured mode, or None if it is not one.

        :raises InvalidPayload: if it claims to be one, and is not
        """
        if not (self.content_type or "").lower().startswith(CONTENT_TYPE):
            return None
        return decode("a CloudEvent", self.body, StructuredEvent)


Translation = Callable[[Inbound], Any]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What another service publishes, and the function that turns it into a command of ours.

    `translate` is synchronous and without I/O. It returns the command, or None for a message that
    does not concern us, which is then acknowledged and counted. If it raises any error, the message
    becomes a dead letter with that reason; only after an error of the kind "unavailable", such as
    the engine's `Unavailable`, the message waits.

    The messages come from Kafka's `topic`, from RabbitMQ's `exchange` by these `routing_keys`, or
    from either, whichever broker is configured. A new Kafka group begins at the `start` of the
    topic, "earliest" or "latest"; RabbitMQ does not keep what was published before our queue was
    bound. Kafka's messages are handled in the order of their partitions; those of RabbitMQ one by
    one if `in_order`, and otherwise in no order.

    A repeated message is recognized by its id: the id that `message_id` returns, if it is given;
    else the message's own, together with its source if it is a CloudEvent; else, on Kafka, its
    place in the topic and its time. A message without any id becomes a dead letter, and so does one
    whose id came with another body before.

    `relies_on` is the class as which the translation reads the data. It appears in the AsyncAPI
    document, and in the contract with the other team: see `aftercommit.testing.check_contract`.

    The queue, the group and the message ids are stored under the name of the subscription. If you
    rename it, pass the first name as `renamed`, and it continues where it was.

    :raises WiringError: if it has no source, or if its arguments do not fit together

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
    message_id: Callable[[Inbound], str | int | UUID | None] | None = None
    relies_on: type[Any] | None = None
    renamed: str | None = None

    def __post_init__(self) -> None:
        for name in filter(None, (self.name, self.renamed)):
            if not NAME.fullmatch(name):
                problem = (
                    "the name of a subscription has only lower-case letters, digits and _, unlike"
                )
                raise WiringError(problem, repr(name))
        if self.exchange is None and self.topic is None:
            problem = "give an exchange or a topic to the subscription"
            raise WiringError(problem, self.name)
        if isinstance(self.routing_keys, str) or not self.routing_keys:
            problem = "`routing_keys` has to be a list of at least one key, in the subscription"
            raise WiringError(problem, self.name)
        if self.start not in get_args(Start):
            raise WiringError(
                "`start` has to be earliest or latest, in the subscription", self.name
            )
        if iscoroutinefunction(self.translate):
            problem = (
                "a translation has to be a plain function (def) that waits for nothing, unlike"
            )
            raise WiringError(problem, _name_of(self.translate))

    @property
    def source(self) -> str:
        """The source of its messages, as stored in the inbox and among the pauses."""
        return f"from.{self.renamed or self.name}"

    @property
    def origin(self) -> str:
        """The source of its messages, for display."""
        keys = ", ".join(self.routing_keys)
        exchange = f"exchange {self.exchange} ({keys})" if self.exchange else ""
        return ", ".join(filter(None, (exchange, self.topic and f"topic {self.topic}")))

    def commands(self) -> Collection[type[Any]]:
        """Return the types of the commands that the translation returns, by its annotation.

        :raises WiringError: if the annotation names none
        """
        try:
            said = types_of(self.translate, "return", NoneType) - {NoneType}
        except Exception as error:
            problem = f"the return type cannot be read ({error})"
            raise WiringError(problem, _name_of(self.translate)) from error
        if not said or not all(isinstance(each, type) for each in said):
            problem = "annotate which commands a translation returns, `-> TheCommand | None`, in"
            raise WiringError(problem, _name_of(self.translate))
        return said

    def _refusal(self, raised: BaseException) -> Exception:
        """Return why a message is a dead letter, or the error for which it waits: `Unavailable`.

        Whatever else a translation raises makes a dead letter, also what would end the process or
        cancel a task. Cancellations of ours, and Ctrl-C in our own code, are raised as they are.
        """
        try:
            contain(raised, f"the subscription {self.name}")
            error = raised
        except Exception as contained:
            error = contained
        if isinstance(error, Exception) and (is_away(error) or is_permanent(error)):
            return error
        return UntranslatableMessage(self.name, error)

    def inlet(self, application: str) -> Inlet:
        """Return the inlet for its messages."""
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
        """Return the command that a message means, and its origin; None if it does not concern us.

        The fingerprint is that of the body, so that a new version of the translation does not
        change it.

        :raises InvalidMessage: if it cannot be read, or has no id
        """
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
            derived = self.message_id(message) if self.message_id else _id_of(message, received)
            message_id = "" if derived is None else str(derived)
        except BaseException as raised:
            if (refusal := self._refusal(raised)) is raised:
                raise
            raise refusal from raised
        if len(received.body) > MAX_MESSAGE_BYTES:  # of what concerns us; the broker limits others
            raise MessageTooLarge(len(received.body), MAX_MESSAGE_BYTES)
        if not message_id:
            raise InvalidPayload("a message", NO_ID)
        require_legible("id", message_id)
        return command, MessageOrigin(
            source=self.source,
            id=message_id,
            fingerprint=sha256(received.body).hexdigest(),
            traceparent=well_formed_traceparent(said.get("traceparent")),
            correlation_id=_correlation_id(said.get("correlationid")),
        )


def _id_of(message: Inbound, received: ReceivedMessage) -> str | None:
    """Return what tells a message from all others of its subscription, if there is something.

    The id of a CloudEvent is unique together with its source only.
    """
    if message.id and message.source:
        return f"{message.source} {message.id}"
    return message.id or received.place


def _as_it_came(received: ReceivedMessage) -> Inbound:
    """Return a message without the attributes that only a CloudEvent has."""
    present = ((name, value) for name, value in received.headers.items() if value is not None)
    headers = {name: text_of(value) for name, value in present}
    return Inbound(
        body=received.body,
        headers=headers,
        key=received.key,
        content_type=received.properties.get("content_type") or headers.get("content-type"),
        id=received.properties.get("message_id"),
    )


def _attributes(message: Inbound) -> Mapping[str, Any]:
    """Return a CloudEvent's attributes, in either mode; for other messages those of a trace.

    :raises InvalidPayload: if it claims to be a CloudEvent, and is not
    """
    if event := message.structured():
        return msgspec.structs.asdict(event)
    headers = {each.lower(): value for each, value in message.headers.items()}
    of_trace = {name: headers[name] for name in ("traceparent", "correlationid") if name in headers}
    return of_trace | _in_binary_mode(headers)


def _correlation_id(said: object) -> UUID | None:
    """Return the message's correlation id, if it has the form of ours."""
    with suppress(ValueError):
        return UUID(str(said))
    return None


def _in_binary_mode(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a CloudEvent's attributes from the headers."""
    return {each[1].lower(): headers[each[0]] for each in map(BINARY.fullmatch, headers) if each}


def _name_of(translate: Translation) -> str:
    return getattr(translate, "__name__", repr(translate))
