"""The observer that makes a span for each command, attempt, and call to an external system.

The configured tracer provider makes them, and is shut down at the end.

The span of an attempt is a child of the span in which its event was committed, whenever and in
whichever process that was; the span of a call is a child of its attempt's span. Names and
attributes follow the semantic conventions for messaging, as far as those fit:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Thread
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.trace import (
    ProxyTracerProvider,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_tracer_provider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from aftercommit.claims import Claim, CommandWork, WorkItem
from aftercommit.envelopes import current_traceparent
from aftercommit.errors import DeliverySuperseded, MessageAlreadyHandled, has_kind, slug_of
from aftercommit.observers import Observer, Operation

FAREWELL_SECONDS = 2  # to export the last spans; a collector may be down for longer
NO_FAULT = (DeliverySuperseded, MessageAlreadyHandled)  # somebody else has closed it

W3C = TraceContextTextMapPropagator()

logger = logging.getLogger(__name__)


def tracing(application: str) -> AbstractContextManager[Observer] | None:
    """Return an observer while the context lasts; None if OpenTelemetry is not configured.

    The instrumentation scope has the name of the application.

    At the end, the last spans are exported, if that does not take long.
    """
    provider = get_tracer_provider()
    return None if isinstance(provider, ProxyTracerProvider) else _tracing(application, provider)


class Spans(Observer):
    """An observer that begins and ends spans, and makes each the current span of its task."""

    def __init__(self, application: str, tracer: Tracer) -> None:
        self._application, self._tracer = application, tracer

    def command(self, work: CommandWork, seconds: float) -> Operation:
        kind = SpanKind.CONSUMER if work.origin.id else SpanKind.INTERNAL
        message_id = work.origin.id or str(work.id)
        more = {
            "messaging.message.id": message_id,
            f"{self._application}.source": work.origin.source,
        }
        return self._process(work, kind, work.type, "process", more)

    def attempt(self, claim: Claim, seconds: float) -> Operation:
        name, message_id = claim.envelope.type, str(claim.envelope.id)
        more = {
            "messaging.message.id": message_id,
            f"{self._application}.attempt": claim.attempt,
        }
        if claim.given_up:
            more[f"{self._application}.given_up"] = claim.given_up.words
        return self._process(claim, SpanKind.CONSUMER, name, claim.handler, more)

    def port_call(self, port: str, method: str) -> Operation:
        kind = SpanKind.PRODUCER if method == "publish" else SpanKind.CLIENT
        return self._span(f"{port}.{method}", get_current(), kind, {})

    def _process(
        self, work: WorkItem, kind: SpanKind, name: str, operation: str, more: dict[str, Any]
    ) -> Operation:
        attributes = {
            "messaging.system": self._application,
            "messaging.operation.type": "process",
            "messaging.operation.name": operation,
            "messaging.destination.name": name,
            "messaging.message.conversation_id": str(work.context.correlation_id),
            **more,
        }
        # its parent is its cause; else the task's current span, such as a web request
        parent = W3C.extract({"traceparent": work.context.traceparent or ""}, get_current())
        return self._span(f"{operation} {name}", parent, kind, attributes)

    @contextmanager
    def _span(
        self, name: str, parent: Context, kind: SpanKind, attributes: dict[str, Any]
    ) -> Iterator[None]:
        """Make a span that is its task's current span until it ends."""
        options: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
        begun = self._tracer.start_as_current_span(name, parent, kind, attributes, **options)
        with begun as span:
            headers: dict[str, str] = {}
            W3C.inject(headers)
            token = current_traceparent.set(headers.get("traceparent"))
            try:
                yield
            except BaseException as error:
                _record(span, error)
                raise
            finally:
                current_traceparent.reset(token)


@contextmanager
def _tracing(application: str, provider: Any) -> Iterator[Observer]:
    try:
        yield Spans(application, provider.get_tracer(application))
    finally:
        farewell = Thread(target=_shut_down, args=[provider], daemon=True)
        farewell.start()
        farewell.join(FAREWELL_SECONDS)
        if farewell.is_alive():
            logger.warning("the last spans could not be exported in %g s", FAREWELL_SECONDS)


def _shut_down(provider: Any) -> None:
    try:
        provider.shutdown()  # the API has no such method; after this, the SDK's own does not wait
    except Exception as error:
        logger.warning("the exporter of traces could not be closed: %s", error)


def _record(span: Span, error: BaseException) -> None:
    slug = slug_of(error) if has_kind(error) else type(error).__qualname__
    span.set_attribute("error.type", slug)
    span.record_exception(error)
    if isinstance(error, Exception) and not isinstance(error, NO_FAULT):
        span.set_status(Status(StatusCode.ERROR, str(error)))
