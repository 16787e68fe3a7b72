"""The spans: what each says, and that it hurts nobody."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from aftercommit import MessageOrigin
from aftercommit.errors import MessageAlreadyHandled, slug_of
from aftercommit.extensions.otel.spans import Spans
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from aftercommit_tests.builders import a_command, a_command_work, a_thing_id
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import Claim, current_traceparent
from aftercommit_tests.misbehaving import on_made, raising
from aftercommit_tests.things.app import Settings, bootstrap
from aftercommit_tests.things.domain import Event, RenameThing, ThingNotFound

pytestmark = pytest.mark.anyio

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


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


@pytest.fixture
def recorded() -> Recorded:
    """What a process exports."""
    return Recorded()


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


async def test_a_command_and_each_attempt_have_a_span(
    new_world: NewWorld, recorded: Recorded
) -> None:
    """Named and described as the semantic conventions for messaging say."""
    world = await new_world(observers=[recorded.observer])
    report = await world.bus.handle(a_command(), MessageOrigin(source="/shop", id="m1"))

    event = report.events[0]
    command, attempt = recorded.spans["process make_thing"], recorded.spans["announce thing_made"]
    in_all: dict[str, Any] = {
        "messaging.system": "things",
        "messaging.operation.type": "process",
        "messaging.message.conversation_id": str(event.context.correlation_id),
    }
    assert len(recorded.spans) == 5  # with look_at, write_down, and the bell
    assert (command.kind, attempt.kind) == (SpanKind.CONSUMER, SpanKind.CONSUMER)
    assert command.attributes == in_all | {
        "messaging.operation.name": "process",
        "messaging.destination.name": "make_thing",
        "messaging.message.id": "m1",
        "things.source": "/shop",
    }
    assert attempt.attributes == in_all | {
        "messaging.operation.name": "announce",
        "messaging.destination.name": "thing_made",
        "messaging.message.id": str(event.id),
        "things.attempt": 1,
    }


async def test_a_command_without_a_trace_joins_that_of_its_task(
    new_world: NewWorld, recorded: Recorded
) -> None:
    """Such as the span of a web request."""
    world = await new_world(observers=[recorded.observer])
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    context = trace.SpanContext(TRACE, SPAN, False, sampled)
    with trace.use_span(trace.NonRecordingSpan(context)):
        await world.bus.execute(a_command())

    command = recorded.spans["process make_thing"]
    assert (command.context.trace_id, command.parent) == (TRACE, context)


@pytest.mark.parametrize("broken", ["", "seven", "00-0-0-00", "\0", "x" * 10_000])
def test_a_broken_trace_context_begins_a_new_trace(recorded: Recorded, broken: str) -> None:
    """As W3C Trace Context wants it; and the command is executed."""
    origin = MessageOrigin(source="/shop", id="m1", traceparent=broken)

    with recorded.observer.command(a_command_work(origin), 1.0):
        pass

    assert recorded.spans["process make_thing"].parent is None


async def test_a_handler_works_in_its_span(new_world: NewWorld, recorded: Recorded) -> None:
    """So libraries that make spans, and what is committed, find it; afterwards it is gone."""
    found = list[object]()

    async def looks(event: Event) -> None:
        found.extend((trace.get_current_span().get_span_context(), current_traceparent.get()))

    world = await new_world(event_handlers=on_made(looks), observers=[recorded.observer])
    await world.bus.handle(a_command())

    context = recorded.spans["looks thing_made"].context
    assert found[0] == context
    assert str(found[1]).startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
    assert (current_traceparent.get(), trace.get_current_span()) == (None, trace.INVALID_SPAN)


async def test_errors_are_recorded(new_world: NewWorld, recorded: Recorded) -> None:
    """Of a command that is refused, and of each attempt that fails; the second says so."""
    handlers = on_made(raising(OSError("mail server is down")))
    world = await new_world(event_handlers=handlers, observers=[recorded.observer])

    report = await world.bus.handle(a_command())
    first = recorded.spans["fails thing_made"]
    with pytest.raises(ThingNotFound):
        await world.bus.handle(RenameThing(thing_id=a_thing_id(), name="torch"))
    refused = recorded.spans["process rename_thing"]
    failed = report.failures[0].delivery
    await world.bus.run([Claim(envelope=failed.envelope, handler="fails", attempt=2, token=2)])
    second = recorded.spans["fails thing_made"]

    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description == "mail server is down"
    assert attributes_of(first)["error.type"] == "OSError"
    assert [event.name for event in first.events] == ["exception"]
    assert attributes_of(refused)["error.type"] == slug_of(ThingNotFound)
    assert (second.context != first.context, second.parent) == (True, first.parent)
    assert attributes_of(second)["things.attempt"] == 2


def test_a_repetition_is_no_error(recorded: Recorded) -> None:
    """It is what at least once means: an alarm for it would ring for nothing."""
    with suppress(MessageAlreadyHandled), recorded.observer.command(a_command_work(), 1.0):
        raise MessageAlreadyHandled("/shop", "m1")

    (span,) = recorded.spans.values()
    assert span.status.status_code is StatusCode.UNSET
    assert attributes_of(span)["error.type"] == slug_of(MessageAlreadyHandled)


async def test_nobody_makes_spans_unless_opentelemetry_is_set_up(settings: Settings) -> None:
    """Nobody pays for what nobody looks at."""
    async with bootstrap(settings) as application:
        observers = application.bus.instrumentation.observers

    assert not any(isinstance(observer, Spans) for observer in observers)
