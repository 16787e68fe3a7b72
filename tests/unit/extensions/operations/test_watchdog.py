"""The watchdog: what cannot be stopped is named."""

from contextlib import suppress
from dataclasses import replace
from functools import wraps
from time import monotonic
from typing import Any

import anyio
import pytest
from aftercommit.errors import HandlerTimeout
from aftercommit.extensions.operations.stuck_handlers import watching
from aftercommit.handler_table import Handler

from allocation.domain.events import Event
from tests.builders import POLICY, FakeApplication
from tests.things import ThingMade, a_command

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 30


async def run_past_its_time_limit(handler: Handler[Any, Any]) -> None:
    """Run it, under the eyes of a watchdog; anew if a busy machine came to it too late."""
    begun: list[Event] = []

    @wraps(handler)
    async def noted(event: Event) -> None:
        begun.append(event)
        await handler(event)

    with watching(every=0.01) as watchdog:
        application = FakeApplication(
            event_handlers={ThingMade: [noted]},
            policy=replace(POLICY, lease_seconds=2, handler_timeout_seconds=0.25),
            observers=[watchdog],
        )
        while True:
            with suppress(HandlerTimeout):  # of the command
                await application.bus.handle(a_command())
            if begun:
                return


async def test_a_handler_that_swallows_its_cancellation_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It cannot be stopped, but somebody can be told whose fault the silence is."""

    async def stubborn(event: Event) -> None:
        limit = monotonic() + LIMIT_SECONDS
        while "stubborn on event" not in caplog.text and monotonic() < limit:
            with suppress(BaseException):
                await anyio.sleep(0.01)

    await run_past_its_time_limit(stubborn)

    assert "stubborn on event" in caplog.text
    assert "goes on past its time limit" in caplog.text


async def test_a_handler_that_blocks_the_event_loop_is_named_while_it_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing that runs on the event loop could tell."""

    async def blocks(event: Event) -> None:
        limit = monotonic() + LIMIT_SECONDS
        while "blocks on event" not in caplog.text and monotonic() < limit:
            pass

    await run_past_its_time_limit(blocks)

    assert "blocks on event" in caplog.text
    assert "blocks the event loop" in caplog.text
