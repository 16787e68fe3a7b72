"""What cannot be stopped is named in the log."""

from contextlib import suppress
from dataclasses import replace
from time import monotonic

import anyio
import pytest
from aftercommit.errors import HandlerTimeout

from aftercommit_tests.builders import PLAIN, POLICY, a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.operations import watching
from aftercommit_tests.things.domain import ThingMade

pytestmark = [pytest.mark.anyio, pytest.mark.on("trio")]

LIMIT_SECONDS = 60


@pytest.mark.parametrize("blocks", [False, True], ids=["swallows its cancellation", "blocks"])
async def test_a_handler_that_cannot_be_stopped_is_named_while_it_goes_on(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture, blocks: bool
) -> None:
    """Somebody can be told whose fault the silence is: nothing on a blocked event loop could."""
    begun = False

    async def stubborn(event: ThingMade) -> None:
        nonlocal begun
        begun, limit = True, monotonic() + LIMIT_SECONDS
        while "stubborn on event" not in caplog.text and monotonic() < limit:
            with suppress(BaseException):
                if not blocks:
                    await anyio.sleep(0.01)

    with watching(every=0.01) as watchdog:
        world = await new_world(
            event_handlers={**PLAIN, ThingMade: [stubborn]},
            policy=replace(POLICY, lease_seconds=2, handler_timeout_seconds=0.25),
            observers=[watchdog],
        )
        while not begun:  # again, if a busy machine came to it too late
            with suppress(HandlerTimeout):  # of the command
                await world.bus.handle(a_command())

    assert "stubborn on event" in caplog.text
    assert "goes on past its time limit" in caplog.text
