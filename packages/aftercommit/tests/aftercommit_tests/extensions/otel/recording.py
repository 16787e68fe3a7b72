"""Spans that are kept in memory, as the SDK's own exporter does."""

from aftercommit.extensions.otel.spans import Spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Recorded:
    """What one process exports: `observer` makes spans, `spans` are those that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.observer = Spans("things", provider.get_tracer("test"))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans, by name."""
        return {span.name: span for span in self._exporter.get_finished_spans()}


def trace_of(span: ReadableSpan) -> int:
    return int(span.context.trace_id)


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent and span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    return int(span.context.span_id)
