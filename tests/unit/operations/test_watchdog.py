"""The watchdog: what cannot be stopped is named."""

from contextlib import suppress
from dataclasses import replace
from time import monotonic

import anyio
import pytest

from allocation.domain.events import Event, UserRegistered
from allocation.entrypoints.operations.watchdog import Watchdog, watching
from allocation.service_layer.wiring import Handler
from tests.builders import POLICY, FakeApplication, a_registration

pytestmark = pytest.mark.anyio


def hurried(handler: Handler, watchdog: Watchdog) -> FakeApplication:
    return FakeApplication(
        event_handlers={UserRegistered: [handler]},
        policy=replace(POLICY, handler_timeout=0.25),  # on a busy machine, too
        observers=[watchdog],
    )


async def test_a_handler_that_swallows_its_cancellation_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It cannot be stopped, but somebody can be told whose fault the silence is."""

    async def stubborn(event: Event) -> None:
        while not any("stubborn" in record.message for record in caplog.records):
            with suppress(BaseException):
                await anyio.sleep(0.01)

    with watching(every=0.01) as watchdog, anyio.fail_after(10):
        await hurried(stubborn, watchdog).bus.handle(a_registration())

    assert "goes on past its time limit" in caplog.text


async def test_a_handler_that_blocks_the_event_loop_is_named_while_it_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing that runs on the event loop could tell."""

    async def blocks(event: Event) -> None:
        limit = monotonic() + 10
        while "blocks on event" not in caplog.text and monotonic() < limit:
            pass

    with watching(every=0.01) as watchdog:
        await hurried(blocks, watchdog).bus.handle(a_registration())

    assert "blocks the event loop" in caplog.text
