"""Traces of the whole application: over processes, and whatever becomes of the exporter."""

from dataclasses import replace

import pytest
from aftercommit.extensions.otel.spans import Spans
from aftercommit.process.runtime import Shutdown
from aftercommit.process.worker import Worker

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


async def test_nobody_makes_spans_unless_opentelemetry_is_set_up(settings: Settings) -> None:
    """Nobody pays for what nobody looks at."""
    async with bootstrap(settings) as application:
        observers = application.bus.instrumentation.observers

    assert not any(isinstance(observer, Spans) for observer in observers)
