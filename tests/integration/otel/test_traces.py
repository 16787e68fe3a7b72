"""Traces of the whole application: over processes, and whatever becomes of the exporter."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from allocation.adapters.operations.sharing import Sharing  # room: operations
from allocation.adapters.otel import exporting
from allocation.adapters.otel.tracing import exporter_name
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.entrypoints.operations.together import execute_all  # room: operations
from allocation.entrypoints.running import StopSignal
from allocation.entrypoints.worker import Worker
from allocation.service_layer.envelopes import INSIDE  # room: operations
from tests.builders import a_batch, a_registration
from tests.unit.otel.recording import Recorded, id_of, parent_of, trace_of

pytestmark = pytest.mark.anyio

REGISTRATION = "process register_user"
LOG = "log_registration user_registered"  # room: operations
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
        await Worker(application, StopSignal(), concurrency=5).run(until_idle=True)

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


# room: operations
async def test_commands_that_share_a_transaction_have_spans_of_their_own(
    settings: Settings,
) -> None:
    """Each is a story, and so a trace: what follows from it is found there."""
    recorded = Recorded()
    async with bootstrap(settings, observers=[recorded.observer]) as application:
        bus = application.bus
        sharing = Sharing(application.database, bus.policy, bus.envelope_factory)
        commands = [a_registration(email=f"user{n}@example.com") for n in range(2)]
        together = await execute_all(bus, sharing, commands, INSIDE, users=[])
        for events in together:
            await bus.dispatch(events)

    of_commands = {id_of(span): trace_of(span) for span in recorded.all_named(REGISTRATION)}
    of_logs = {parent_of(span): trace_of(span) for span in recorded.all_named(LOG)}
    assert len(set(of_commands.values())) == 2
    assert of_logs == of_commands


# end
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


class Keeping(SpanExporter):
    """An exporter to look at."""

    kept: list[ReadableSpan]

    def export(self, spans: object) -> SpanExportResult:
        assert isinstance(spans, list | tuple)
        self.kept.extend(spans)
        return SpanExportResult.SUCCESS


@contextmanager
def exporting_by(exporter: SpanExporter, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("OTEL_TRACES_EXPORTER", "of_the_test")
        patched.setattr(exporting, "_exporter", lambda name: exporter)
        yield


async def test_spans_go_to_the_exporter_that_the_environment_names(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the latest when the program ends."""
    exporter = Keeping()
    exporter.kept = []

    with exporting_by(exporter, monkeypatch):
        async with bootstrap(settings) as application:
            await application.bus.handle(a_registration())

    names = {span.name for span in exporter.kept}
    assert {REGISTRATION, COUPON} < names
    assert {span.resource.attributes["service.name"] for span in exporter.kept} == {"allocation"}


async def test_a_broken_exporter_hurts_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK says so in the log; all is done."""
    with exporting_by(Refusing(), monkeypatch):
        async with bootstrap(settings) as application:
            report = await application.bus.handle(a_registration())

    assert report.failures == ()
    assert len(report.events) == 2


async def test_an_exporter_that_hangs_holds_nobody_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it does not take is dropped, also when there is more than may wait for it."""
    exporter = Hanging()
    monkeypatch.setattr(exporting, "FAREWELL_SECONDS", 0.01)
    for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"):
        monkeypatch.setenv(name, "2")

    with exporting_by(exporter, monkeypatch):
        async with bootstrap(settings) as application:
            reports = [
                await application.bus.handle(a_registration(email=f"{n}@example.com"))
                for n in range(3)
            ]
    exporter.may_end.set()

    assert [report.failures for report in reports] == [(), (), ()]
    assert "the last spans could not be exported" in caplog.text


async def test_an_exporter_that_is_not_there_is_told_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the program works without traces."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")

    async with bootstrap(settings) as application:
        report = await application.bus.handle(a_registration())

    assert report.failures == ()
    assert "no exporter zipkin is installed" in caplog.text


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_traces_are_off_unless_an_exporter_is_asked_for(
    environment: dict[str, str], name: str | None
) -> None:
    """Nobody pays for what nobody looks at."""
    assert exporter_name(environment) == name


def test_the_exporter_of_the_extra_is_found() -> None:
    """By the name that the specification gives it."""
    assert type(exporting._exporter("otlp")).__name__ == "OTLPSpanExporter"
