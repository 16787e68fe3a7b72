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
from anyio import fail_after
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aftercommit_tests.builders import a_command
from aftercommit_tests.extensions.otel.recording import Recorded, id_of, parent_of, trace_of
from aftercommit_tests.things.app import Settings, bootstrap

pytestmark = pytest.mark.anyio

COMMAND, POLISH = "process make_thing", "polish thing_made"


async def test_what_is_committed_in_one_process_and_done_in_another_is_one_trace(
    settings: Settings,
) -> None:
    """The first stores and ends; days may pass; the worker goes on with the same trace."""
    storing, working = Recorded(), Recorded()

    leaving = replace(settings, dispatch="worker")
    async with bootstrap(leaving, observers=[storing.observer]) as application:
        await application.bus.handle(a_command())
    async with bootstrap(settings, observers=[working.observer]) as application:
        await Worker(application, Shutdown(), concurrency=5).run(until_idle=True)

    [command], done = storing.spans.values(), working.spans
    assert {name.partition(" ")[0] for name in done} == {
        "announce",
        "bell.ring",
        "look_at",
        "polish",
        "praise",
        "write_down",
    }
    assert {trace_of(span) for span in done.values()} == {trace_of(command)}
    of_event = [span for name, span in done.items() if name.endswith(" thing_made")]
    assert {parent_of(span) for span in of_event} == {id_of(command)}
    assert parent_of(done["praise thing_polished"]) == id_of(done[POLISH])


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
            await application.bus.handle(a_command())

    assert {COMMAND, POLISH} < {span.name for span in exporter.get_finished_spans()}


async def test_a_broken_exporter_hurts_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK says so in the log; all is done."""
    with exporting_by(Refusing(), monkeypatch):
        async with bootstrap(settings) as application:
            report = await application.bus.handle(a_command())

    assert (report.failures, len(report.events)) == ([], 2)


async def test_an_exporter_that_hangs_holds_nobody_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it does not take is dropped, also when there is more than may wait for it."""
    exporter = Hanging()
    monkeypatch.setattr(spans, "FAREWELL_SECONDS", 0.01)
    for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"):
        monkeypatch.setenv(name, "2")

    with exporting_by(exporter, monkeypatch), fail_after(60):
        async with bootstrap(settings) as application:
            reports = [await application.bus.handle(a_command()) for _ in range(3)]
    exporter.may_end.set()

    assert [report.failures for report in reports] == [[], [], []]
    assert "the last spans could not be exported" in caplog.text


async def test_nobody_makes_spans_unless_opentelemetry_is_set_up(settings: Settings) -> None:
    """Nobody pays for what nobody looks at."""
    async with bootstrap(settings) as application:
        observers = application.bus.instrumentation.observers

    assert not any(isinstance(observer, Spans) for observer in observers)
