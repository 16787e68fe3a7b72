"""The spans: what each says, and that it hurts nobody."""

from contextlib import suppress
from typing import Any

import pytest
from aftercommit.claims import Claim
from aftercommit.envelopes import MessageOrigin, current_traceparent
from aftercommit.errors import MessageAlreadyHandled, slug_of
from aftercommit.handler_table import Handler
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from allocation.domain.events import Event
from tests.builders import HANDLERS, EventHandlers, FakeApplication, a_command_envelope
from tests.things import RenameThing, ThingMade, ThingNotFound, a_command, a_thing_id
from tests.unit.extensions.otel.recording import Recorded, id_of, parent_of, trace_of

pytestmark = pytest.mark.anyio

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
CONVERSATION = "messaging.message.conversation_id"


def observed(recorded: Recorded, *handlers: Handler[Any, Any]) -> FakeApplication:
    """Return the application, with these handlers of a new thing if there are some."""
    event_handlers: EventHandlers = {ThingMade: handlers} if handlers else HANDLERS
    return FakeApplication(event_handlers=event_handlers, observers=[recorded.observer])


async def fails(event: Event) -> None:
    raise OSError("mail server is down")


async def test_a_command_and_each_attempt_have_a_span() -> None:
    """Named and described as the semantic conventions for messaging say."""
    recorded, received = Recorded(), MessageOrigin(source="/shop", id="m1")

    report = await observed(recorded).bus.handle(a_command(), received)

    event = report.events[0]
    command, attempt = (
        recorded.spans["process make_thing"],
        recorded.spans["announce thing_made"],
    )
    assert len(recorded.spans) == 5
    assert (command.kind, attempt.kind) == (SpanKind.CONSUMER, SpanKind.CONSUMER)
    assert dict(command.attributes or {}) == {
        "messaging.system": "allocation",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "make_thing",
        "messaging.message.id": "m1",
        CONVERSATION: str(event.context.correlation_id),
        "allocation.source": "/shop",
    }
    assert dict(attempt.attributes or {}) == {
        "messaging.system": "allocation",
        "messaging.operation.type": "process",
        "messaging.operation.name": "announce",
        "messaging.destination.name": "thing_made",
        "messaging.message.id": str(event.id),
        CONVERSATION: str(event.context.correlation_id),
        "allocation.attempt": 1,
    }


async def test_a_call_to_the_world_outside_is_a_span_in_that_of_its_attempt() -> None:
    """A slow mail server is seen, and told from what else the handler does."""
    recorded = Recorded()

    await observed(recorded).bus.handle(a_command())

    sending = recorded.spans["notifications.send"]
    attempt = recorded.spans["announce thing_made"]
    assert sending.kind is SpanKind.CLIENT
    assert (trace_of(sending), parent_of(sending)) == (trace_of(attempt), id_of(attempt))


async def test_a_command_joins_the_trace_it_came_with() -> None:
    """The sender's span is its parent."""
    recorded = Recorded()
    received = MessageOrigin(source="/shop", id="m1", traceparent=TRACEPARENT)

    await observed(recorded).bus.handle(a_command(), received)

    command = recorded.spans["process make_thing"]
    assert (trace_of(command), parent_of(command)) == (int(TRACE, 16), int(SPAN, 16))


async def test_a_command_of_a_web_request_joins_the_trace_of_that() -> None:
    """What the current task is in already, such as the span of an instrumented server."""
    recorded = Recorded()
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    context = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), False, sampled)
    with trace.use_span(trace.NonRecordingSpan(context)):
        await observed(recorded).bus.execute(a_command())

    command = recorded.spans["process make_thing"]
    assert (trace_of(command), parent_of(command)) == (int(TRACE, 16), int(SPAN, 16))


@pytest.mark.parametrize("broken", ["", "seven", "00-0-0-00", "\0", "x" * 10_000])
async def test_a_broken_trace_context_begins_a_new_trace(broken: str) -> None:
    """As W3C Trace Context wants it; and the command is executed."""
    recorded = Recorded()
    received = MessageOrigin(source="/shop", id="m1", traceparent=broken)

    await observed(recorded).bus.execute(a_command(), received)

    assert parent_of(recorded.spans["process make_thing"]) is None


async def test_a_handler_works_in_its_span() -> None:
    """So libraries that make spans, and what is committed, find it; afterwards it is gone."""
    recorded, found = Recorded(), list[str | int | None]()

    async def looks(event: Event) -> None:
        found.append(trace.get_current_span().get_span_context().span_id)
        found.append(current_traceparent.get())

    await observed(recorded, looks).bus.handle(a_command())

    span = recorded.spans["looks thing_made"]
    assert found[0] == id_of(span)
    assert str(found[1]).startswith(f"00-{trace_of(span):032x}-{id_of(span):016x}-")
    assert (current_traceparent.get(), trace.get_current_span()) == (None, trace.INVALID_SPAN)


async def test_errors_are_recorded() -> None:
    """Of a command that is refused, and of an attempt that fails."""
    recorded = Recorded()
    application = observed(recorded, fails)

    await application.bus.handle(a_command())
    with pytest.raises(ThingNotFound):
        await application.bus.handle(RenameThing(thing_id=a_thing_id(), name="torch"))

    attempt = recorded.spans["fails thing_made"]
    refused = recorded.spans["process rename_thing"]
    assert attempt.status.status_code is StatusCode.ERROR
    assert attempt.status.description == "mail server is down"
    assert (attempt.attributes or {})["error.type"] == "OSError"
    assert [event.name for event in attempt.events] == ["exception"]
    assert (refused.attributes or {})["error.type"] == slug_of(ThingNotFound)


def test_a_repetition_is_no_error() -> None:
    """It is what at least once means: an alarm for it would ring for nothing."""
    recorded, cause = Recorded(), a_command_envelope()

    with suppress(MessageAlreadyHandled), recorded.observer.command(cause, 1.0):
        raise MessageAlreadyHandled("/shop", "m1")

    (span,) = recorded.spans.values()
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["error.type"] == slug_of(MessageAlreadyHandled)


async def test_two_attempts_at_one_delivery_are_two_spans() -> None:
    """The second says so, and has the same parent."""
    recorded = Recorded()
    application = observed(recorded, fails)

    report = await application.bus.handle(a_command())
    first = report.failures[0].delivery
    before = recorded.spans["fails thing_made"]

    await application.bus.run([Claim(envelope=first.envelope, handler="fails", attempt=2, token=2)])

    after = recorded.spans["fails thing_made"]
    assert id_of(before) != id_of(after)
    assert (after.attributes or {})["allocation.attempt"] == 2
