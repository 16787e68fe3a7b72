"""Traces of the whole application: over processes, and whatever becomes of the exporter."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

import pytest
from aftercommit.extensions.otel import spans
from aftercommit.extensions.otel.spans import Spans
from aftercommit.process.runtime import Shutdown
from aftercommit.process.worker import Worker
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from tests.builders import a_batch, a_registration
from tests.unit.extensions.otel.recording import Recorded, id_of, parent_of, trace_of

pytestmark = pytest.mark.anyio

REGISTRATION = "process register_user"
COUPON = "allocate_welcome_coupon user_registered"


async def test_what_is_committed_in_one_process_and_done_in_another_is_one_trace(
    settings: Settings,
) -> None:
    """The first stores and ends; days may pass; the worker goes on with the same trace."""
    storing, working = Recorded(), Recorded()

    async with bootstrap(
        replace(settings, dispatch="worker"), observers=[storing.observer]
    ) as application:
        await application.bus.handle(a_batch())
        await application.bus.handle(a_registration())
    async with bootstrap(settings, observers=[working.observer]) as application:
        await Worker(application, Shutdown(), concurrency=5).run(until_idle=True)

    (command,) = (span for name, span in storing.spans.items() if name == REGISTRATION)
    done = working.spans
    assert set(storing.spans) == {REGISTRATION, "process add_coupon_batch"}
    assert {name.partition(" ")[0] for name in done} == {
        "allocate_welcome_coupon",
        "log_registration",
        "notifications.send",
        "refresh_user_view",
        "send_coupon_email",
        "send_welcome_email",
    }
    assert {trace_of(span) for span in done.values()} == {trace_of(command)}
    assert parent_of(done[COUPON]) == id_of(command)
    assert parent_of(done["send_coupon_email coupon_allocated"]) == id_of(done[COUPON])


async def test_what_one_process_does_at_once_is_the_same_tree(settings: Settings) -> None:
    """Handlers run concurrently, each in a span of its own."""
    recorded = Recorded()

    async with bootstrap(settings, observers=[recorded.observer]) as application:
        await application.bus.handle(a_batch())
        await application.bus.handle(a_registration())

    spans = recorded.spans
    of_event = [span for name, span in spans.items() if name.endswith(" user_registered")]
    assert {parent_of(span) for span in of_event} == {id_of(spans[REGISTRATION])}
    assert parent_of(spans["send_coupon_email coupon_allocated"]) == id_of(spans[COUPON])


class Refusing(SpanExporter):
    """An exporter that fails, in every way it can."""

    def export(self, spans: object) -> SpanExportResult:
        raise ConnectionError("no collector")

    def shutdown(self) -> None:
        raise ConnectionError("no collector")


class Hanging(SpanExporter):
    """An exporter that does not come to an end, unless it is let."""

    def __init__(self) -> None:
        self.may_end = Event()

    def export(self, spans: object) -> SpanExportResult:
        self.may_end.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.may_end.wait()


@contextmanager
def exporting_by(exporter: SpanExporter, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set OpenTelemetry up: as by `opentelemetry-instrument`, but not for the whole process."""
    provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with monkeypatch.context() as patched:
        patched.setattr(spans, "get_tracer_provider", lambda: provider)
        yield


async def test_all_spans_are_exported_before_the_program_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the last ones would be lost, which say how it ended."""
    exporter = InMemorySpanExporter()

    with exporting_by(exporter, monkeypatch):
        async with bootstrap(settings) as application:
            await application.bus.handle(a_registration())

    assert {REGISTRATION, COUPON} < {span.name for span in exporter.get_finished_spans()}


async def test_a_broken_exporter_hurts_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK says so in the log; all is done."""
    with exporting_by(Refusing(), monkeypatch):
        async with bootstrap(settings) as application:
            report = await application.bus.handle(a_registration())

    assert report.failures == []
    assert len(report.events) == 2


async def test_an_exporter_that_hangs_holds_nobody_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it does not take is dropped, also when there is more than may wait for it."""
    exporter = Hanging()
    monkeypatch.setattr(spans, "FAREWELL_SECONDS", 0.01)
    for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"):
        monkeypatch.setenv(name, "2")

    with exporting_by(exporter, monkeypatch):
        async with bootstrap(settings) as application:
            reports = [
                await application.bus.handle(a_registration(email=f"{n}@example.com"))
                for n in range(3)
            ]
    exporter.may_end.set()

    assert [report.failures for report in reports] == [[], [], []]
    assert "the last spans could not be exported" in caplog.text


async def test_nobody_makes_spans_unless_opentelemetry_is_set_up(
    settings: Settings,
) -> None:
    """Nobody pays for what nobody looks at."""
    async with bootstrap(settings) as application:
        observers = application.bus.instrumentation.observers

    assert not any(isinstance(observer, Spans) for observer in observers)
