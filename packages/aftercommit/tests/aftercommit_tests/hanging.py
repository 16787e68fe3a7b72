"""Runs the application with one more handler of ThingMade, which does not come back.

    python -m aftercommit_tests.hanging HANDLER ARGUMENTS…

Its event loop has no signal handlers, as on Windows.
"""

import asyncio
import logging
import signal
import sys
import time
from typing import Any, NoReturn

import anyio
import click
from aftercommit.process import signals
from anyio import to_thread

from aftercommit_tests.things.app import cli
from aftercommit_tests.things.bell import Bell
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import HANDLERS


async def wait(event: ThingMade, bell: Bell) -> None:
    """Wait forever, and let itself be cancelled."""
    click.echo("hanging")
    await anyio.sleep_forever()


async def wait_deaf(event: ThingMade, bell: Bell) -> None:
    """Wait forever, after taking away what tells signals at once, as asyncio does."""
    signal.set_wakeup_fd(-1)
    await wait(event, bell)


async def block(event: ThingMade, bell: Bell) -> None:
    """Block the event loop."""
    click.echo("hanging")
    time.sleep(3600)  # noqa: ASYNC251 - that is the point


async def hold_the_log(event: ThingMade, bell: Bell) -> None:
    """Block the event loop, and anyone who wants to log."""
    logging.getLogger().handlers[0].acquire()
    await block(event, bell)


async def block_in_a_thread(event: ThingMade, bell: Bell) -> None:
    """Wait for a thread that cannot be told to stop."""
    click.echo("hanging")
    await to_thread.run_sync(time.sleep, 3600)


async def swallow(event: ThingMade, bell: Bell) -> None:
    """Go on when cancelled; shielded after that, or it would be cancelled in each turn."""
    try:
        await wait(event, bell)
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()


async def exit_in_a_child(event: ThingMade, bell: Bell) -> None:
    """Do not hang, but end the event loop, where a child task can."""

    async def leave() -> None:
        sys.exit(0)

    click.echo("hanging")
    async with anyio.create_task_group() as group:
        group.start_soon(leave)


def not_implemented(*arguments: Any) -> NoReturn:
    raise NotImplementedError


if __name__ == "__main__":
    handler, *arguments = sys.argv[1:]
    HANDLERS.events[ThingMade] = (*HANDLERS.events[ThingMade], globals()[handler])
    asyncio.SelectorEventLoop.add_signal_handler = not_implemented  # type: ignore[assignment]
    if handler.startswith("wait"):  # it can be cancelled, but a busy machine may take long to do so
        signals.MARGIN_SECONDS = 180.0
    cli(arguments)
