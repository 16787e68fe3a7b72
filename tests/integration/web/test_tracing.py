# room: otel
"""A request is the begin of a trace, or a part of the caller's, to the e-mail that follows."""

from dataclasses import replace

import pytest

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.entrypoints.running import StopSignal
from allocation.entrypoints.worker import Worker
from tests.integration.web.conftest import running_web
from tests.unit.otel.recording import Recorded, parent_of, trace_of

pytestmark = pytest.mark.anyio

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


async def test_one_registration_over_http_is_one_trace(settings: Settings) -> None:
    """The server commits, a worker does the rest: what the caller began goes on in both."""
    serving, working = Recorded(), Recorded()
    stored = replace(settings, dispatch="worker")

    async with running_web(stored, observers=[serving.observer]) as web:
        parent = f"00-{TRACE:032x}-{SPAN:016x}-01"
        answer = await web.register(headers={"traceparent": parent})
    async with bootstrap(settings, observers=[working.observer]) as application:
        await Worker(application, StopSignal(), concurrency=5).run(until_idle=True)

    assert answer.status_code == 201
    command = serving.spans["process register_user"]
    done = [*working.spans.values()]
    assert parent_of(command) == SPAN
    assert "notifications.send" in working.spans
    assert {trace_of(span) for span in (command, *done)} == {TRACE}
