"""A span for each command, attempt of a delivery, and call to the world outside: the observer.

The span of an attempt is a child of the span in which its event was committed, in whichever process
and however long ago that was; that of a call is a child of its attempt's. Names and attributes
follow the semantic conventions for messaging, as far as those fit:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from contextvars import Token
from dataclasses import dataclass

from opentelemetry import context as ambient
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from allocation.adapters.wire import wire_name
from allocation.domain.exceptions import AllocationError
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.envelopes import CommandEnvelope, current_span
from allocation.service_layer.exceptions import DeliverySuperseded, MessageAlreadyHandled
from allocation.service_layer.facts import Begun, Ended, Fact, OutsideCall, Work

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
        self._open: dict[int, _Open] = {}  # by the identity of what is worked on

    def __call__(self, fact: Fact) -> None:
        """Begin or end a span."""
        match fact:
            case Begun(work):
                self._begin(work)
            case Ended(work, error):
                if open_ := self._open.pop(id(work), None):  # if it could be begun
                    self._end(open_, error)

    def _begin(self, work: Work) -> None:
        name, kind, attributes = _described(work)
        span = self._tracer.start_span(
            name, _parent(work), kind, attributes, record_exception=False
        )
        inside, headers = set_span_in_context(span), dict[str, str]()
        W3C.inject(headers, inside)
        self._open[id(work)] = _Open(
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


def _parent(work: Work) -> ambient.Context:
    """Return the context it was told with; else what the task is in, such as a web request."""
    if isinstance(work, OutsideCall):
        return ambient.get_current()
    told = {"traceparent": work.as_context.traceparent or ""}
    return W3C.extract(told, ambient.get_current())


def _described(work: Work) -> tuple[str, SpanKind, Attributes]:
    """Return the name, the kind and the attributes of its span."""
    if isinstance(work, OutsideCall):
        kind = SpanKind.PRODUCER if work.method == "publish" else SpanKind.CLIENT
        return f"{work.port}.{work.method}", kind, {}
    if isinstance(work, CommandEnvelope):
        kind = SpanKind.CONSUMER if work.received.id else SpanKind.INTERNAL
        name, operation, more = _of_command(work)
    else:
        kind = SpanKind.CONSUMER
        name, operation, more = _of_delivery(work)
    attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.type": "process",
        "messaging.operation.name": operation,
        "messaging.destination.name": name,
        "messaging.message.conversation_id": str(work.as_context.correlation_id),
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
