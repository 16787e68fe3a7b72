"""A span for each command and for each attempt of a delivery: the observer.

The span of an attempt is a child of the span in which its event was committed, in whichever process
and however long ago that was. Names and attributes follow the semantic conventions for messaging
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/) as far as those fit.
"""

from contextvars import Token
from dataclasses import dataclass

from opentelemetry import context as ambient
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from allocation.adapters.wire import wire_name
from allocation.domain.exceptions import AllocationError
from allocation.service_layer.delivery import Delivery, Trigger
from allocation.service_layer.envelopes import CommandEnvelope, current_span
from allocation.service_layer.exceptions import DeliverySuperseded, MessageAlreadyHandled
from allocation.service_layer.facts import Begun, Ended, Fact

SYSTEM = "allocation"
NO_FAULT = (DeliverySuperseded, MessageAlreadyHandled)  # somebody else has done it

Value = str | int

W3C = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class _Open:
    """A span that has begun, and what was the current one before."""

    span: Span
    context: Token[ambient.Context]
    traceparent: Token[str | None]


class Spans:
    """An observer that begins and ends spans, and makes each the current one of its task."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[object, _Open] = {}

    def __call__(self, fact: Fact) -> None:
        """Begin or end a span."""
        match fact:
            case Begun(trigger):
                self._begin(trigger)
            case Ended(trigger, error):
                if open_ := self._open.pop(_key(trigger), None):  # if it could be begun
                    self._end(open_, error)

    def _begin(self, trigger: Trigger) -> None:
        name, kind, attributes = _described(trigger)
        told = {"traceparent": trigger.as_context.traceparent or ""}
        parent = W3C.extract(told, ambient.get_current())  # that of a web request, if none is told
        span = self._tracer.start_span(name, parent, kind, attributes, record_exception=False)
        inside, headers = set_span_in_context(span), dict[str, str]()
        W3C.inject(headers, inside)
        self._open[_key(trigger)] = _Open(
            span, ambient.attach(inside), current_span.set(headers.get("traceparent"))
        )

    def _end(self, open_: _Open, error: BaseException | None) -> None:
        current_span.reset(open_.traceparent)
        ambient.detach(open_.context)
        if error is not None:
            slug = error.slug if isinstance(error, AllocationError) else type(error).__qualname__
            open_.span.set_attribute("error.type", slug)
            open_.span.record_exception(error)
            if isinstance(error, Exception) and not isinstance(error, NO_FAULT):
                open_.span.set_status(Status(StatusCode.ERROR, str(error)))
        open_.span.end()


def _key(trigger: Trigger) -> object:
    if isinstance(trigger, CommandEnvelope):
        return trigger.id
    return trigger.idempotency_key, trigger.token


def _described(trigger: Trigger) -> tuple[str, SpanKind, Attributes]:
    """Return the name, the kind and the attributes of its span."""
    if isinstance(trigger, CommandEnvelope):
        kind = SpanKind.CONSUMER if trigger.received.id else SpanKind.INTERNAL
        name, operation, more = _of_command(trigger)
    else:
        kind = SpanKind.CONSUMER
        name, operation, more = _of_delivery(trigger)
    attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.type": "process",
        "messaging.operation.name": operation,
        "messaging.destination.name": name,
        "messaging.message.conversation_id": str(trigger.as_context.correlation_id),
        **more,
    }
    return f"{operation} {name}", kind, attributes


def _of_command(envelope: CommandEnvelope) -> tuple[str, str, dict[str, Value]]:
    message_id = envelope.received.id or str(envelope.id)
    more: dict[str, Value] = {
        "messaging.message.id": message_id,
        "allocation.source": envelope.received.source,
    }
    return wire_name(type(envelope.command)), "process", more


def _of_delivery(delivery: Delivery) -> tuple[str, str, dict[str, Value]]:
    envelope = delivery.envelope
    more: dict[str, Value] = {
        "messaging.message.id": str(envelope.id),
        "allocation.attempt": delivery.attempt,
    }
    return wire_name(type(envelope.event)), delivery.handler, more
