"""Runs the application with one more handler of some events, which does not come back.

    python -m tests.e2e.hanging HANDLER ARGUMENTS…

It has one more command, `make-thing`, whose tables a test has to make. Its event loop has no signal
handlers, as on Windows.
"""

import asyncio
import logging
import signal
import sys
import time
from typing import Any, NoReturn

import anyio
import click
from aftercommit.process.app import CommandLine
from anyio import to_thread

from allocation.domain.events import Event, UserRegistered
from allocation.entrypoints.cli import cli
from allocation.messages import CODEC
from allocation.service_layer.handlers import HANDLERS as TABLE
from allocation.service_layer.user_mailer import EmailSender
from tests import things

HANGING_ON: list[type[Event]] = [things.ThingMade, UserRegistered]


async def wait(event: Event, notifications: EmailSender) -> None:
    """Wait for ever, and let itself be cancelled."""
    click.echo("hanging")
    await anyio.sleep_forever()


async def wait_deaf(event: Event, notifications: EmailSender) -> None:
    """Wait for ever, after taking away what tells signals at once, as asyncio does."""
    signal.set_wakeup_fd(-1)
    await wait(event, notifications)


async def block(event: Event, notifications: EmailSender) -> None:
    """Block the event loop."""
    click.echo("hanging")
    time.sleep(3600)  # noqa: ASYNC251 - that is the point


async def hold_the_log(event: Event, notifications: EmailSender) -> None:
    """Block the event loop, and whoever wants to log."""
    click.echo("hanging")
    logging.getLogger().handlers[0].acquire()
    time.sleep(3600)  # noqa: ASYNC251 - that is the point


async def block_in_a_thread(event: Event, notifications: EmailSender) -> None:
    """Wait for a thread that cannot be told to stop."""
    click.echo("hanging")
    await to_thread.run_sync(time.sleep, 3600)


async def swallow(event: Event, notifications: EmailSender) -> None:
    """Go on when cancelled; shielded after that, or it would be cancelled in each turn."""
    click.echo("hanging")
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()


async def exit_in_a_child(event: Event, notifications: EmailSender) -> None:
    """Do not hang, but end the event loop, where a child task can."""

    async def leave() -> None:
        sys.exit(0)

    click.echo("hanging")
    async with anyio.create_task_group() as group:
        group.start_soon(leave)


@click.command()
@click.pass_obj
def make_thing(cli: CommandLine[Any]) -> None:
    """Make a thing."""
    cli.handle(things.a_command())


def not_implemented(*arguments: Any) -> NoReturn:
    raise NotImplementedError


if __name__ == "__main__":
    handler, *arguments = sys.argv[1:]
    things.start_mappers()
    CODEC.events.update({CODEC.name_of(each): each for each in things.EVENTS})
    TABLE.commands[things.MakeThing] = things.make_thing
    for event in HANGING_ON:
        TABLE.events[event] = (*TABLE.events.get(event, ()), globals()[handler])
    cli.add_command(make_thing)
    asyncio.SelectorEventLoop.add_signal_handler = not_implemented  # type: ignore[assignment]
    cli(arguments)
