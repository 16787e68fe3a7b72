"""The spans: what each says, and that it hurts nobody."""

from contextlib import suppress
from typing import Any

import pytest
from aftercommit.claims import Claim
from aftercommit.envelopes import MessageOrigin, current_traceparent
from aftercommit.errors import MessageAlreadyHandled, slug_of
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from aftercommit_tests.builders import PLAIN, a_command, a_command_work, a_thing_id
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.otel.recording import Recorded, id_of, parent_of, trace_of
from aftercommit_tests.things.domain import Event, RenameThing, ThingMade, ThingNotFound
from aftercommit_tests.world import World

pytestmark = pytest.mark.anyio

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
CONVERSATION = "messaging.message.conversation_id"


@pytest.fixture
def recorded() -> Recorded:
    """What a process exports."""
    return Recorded()


@pytest.fixture
async def observed(new_world: NewWorld, recorded: Recorded) -> World:
    """A world that makes spans."""
    return await new_world(observers=[recorded.observer])


async def fails(event: Event) -> None:
    raise OSError("mail server is down")


async def test_a_command_and_each_attempt_have_a_span(observed: World, recorded: Recorded) -> None:
    """Named and described as the semantic conventions for messaging say."""
    report = await observed.bus.handle(a_command(), MessageOrigin(source="/shop", id="m1"))

    event = report.events[0]
    command, attempt = recorded.spans["process make_thing"], recorded.spans["announce thing_made"]
    in_all: dict[str, Any] = {
        "messaging.system": "things",
        "messaging.operation.type": "process",
        CONVERSATION: str(event.context.correlation_id),
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


async def test_a_call_to_the_world_outside_is_a_span_in_that_of_its_attempt(
    observed: World, recorded: Recorded
) -> None:
    """A slow mail server is seen, and told from what else the handler does."""
    await observed.bus.handle(a_command())

    ringing, attempt = recorded.spans["bell.ring"], recorded.spans["announce thing_made"]
    assert ringing.kind is SpanKind.CLIENT
    assert (trace_of(ringing), parent_of(ringing)) == (trace_of(attempt), id_of(attempt))


@pytest.mark.parametrize("by_message", [True, False])
async def test_a_command_joins_the_trace_it_came_with(
    observed: World, recorded: Recorded, by_message: bool
) -> None:
    """That in its message; else what its task is in, such as the span of a web request."""
    if by_message:
        origin = MessageOrigin(source="/shop", id="m1", traceparent=TRACEPARENT)
        await observed.bus.execute(a_command(), origin)
    else:
        sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        context = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), False, sampled)
        with trace.use_span(trace.NonRecordingSpan(context)):
            await observed.bus.execute(a_command())

    command = recorded.spans["process make_thing"]
    assert (trace_of(command), parent_of(command)) == (int(TRACE, 16), int(SPAN, 16))


@pytest.mark.parametrize("broken", ["", "seven", "00-0-0-00", "\0", "x" * 10_000])
def test_a_broken_trace_context_begins_a_new_trace(recorded: Recorded, broken: str) -> None:
    """As W3C Trace Context wants it; and the command is executed."""
    origin = MessageOrigin(source="/shop", id="m1", traceparent=broken)

    with recorded.observer.command(a_command_work(origin), 1.0):
        pass

    assert parent_of(recorded.spans["process make_thing"]) is None


async def test_a_handler_works_in_its_span(new_world: NewWorld, recorded: Recorded) -> None:
    """So libraries that make spans, and what is committed, find it; afterwards it is gone."""
    found = list[str | int | None]()

    async def looks(event: Event) -> None:
        found.append(trace.get_current_span().get_span_context().span_id)
        found.append(current_traceparent.get())

    handlers = {**PLAIN, ThingMade: [looks]}
    world = await new_world(event_handlers=handlers, observers=[recorded.observer])
    await world.bus.handle(a_command())

    span = recorded.spans["looks thing_made"]
    assert found[0] == id_of(span)
    assert str(found[1]).startswith(f"00-{trace_of(span):032x}-{id_of(span):016x}-")
    assert (current_traceparent.get(), trace.get_current_span()) == (None, trace.INVALID_SPAN)


async def test_errors_are_recorded(new_world: NewWorld, recorded: Recorded) -> None:
    """Of a command that is refused, and of each attempt that fails; the second says so."""
    handlers = {**PLAIN, ThingMade: [fails]}
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
    assert (first.attributes or {})["error.type"] == "OSError"
    assert [event.name for event in first.events] == ["exception"]
    assert (refused.attributes or {})["error.type"] == slug_of(ThingNotFound)
    assert id_of(second) != id_of(first)
    assert parent_of(second) == parent_of(first)
    assert (second.attributes or {})["things.attempt"] == 2


def test_a_repetition_is_no_error(recorded: Recorded) -> None:
    """It is what at least once means: an alarm for it would ring for nothing."""
    with suppress(MessageAlreadyHandled), recorded.observer.command(a_command_work(), 1.0):
        raise MessageAlreadyHandled("/shop", "m1")

    (span,) = recorded.spans.values()
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["error.type"] == slug_of(MessageAlreadyHandled)
