"""Handlers as nobody should write them, and some plain ones: what the bus has to cope with."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from aftercommit_tests.builders import PLAIN, EventHandlers
from aftercommit_tests.things.domain import Event, ThingMade, ThingRenamed
from aftercommit_tests.things.storage import UnitOfWork

LIMIT_SECONDS = 180  # for what comes at once, or never
PATIENT: dict[str, Any] = {"handler_timeout_seconds": 600.0, "lease_seconds": 900.0}
"""Settings under which no attempt ends by time, on however busy a machine."""


def on_made(*handlers: object) -> EventHandlers:
    """Return a table in which a new thing has these handlers, and no other event has any."""
    return {**PLAIN, ThingMade: handlers}


def on_change(*handlers: object, beside: tuple[object, ...] = ()) -> EventHandlers:
    """Return a table in which one event follows another one."""
    return {**on_made(change, *beside), ThingRenamed: handlers}


async def works(event: Event) -> None:
    """Be done at once."""
    await checkpoint()


def raising(error: BaseException) -> Callable[[Event], Coroutine[Any, Any, None]]:
    """Return a handler that raises this."""

    async def fails(event: Event) -> None:
        raise error

    return fails


async def hangs(event: Event) -> None:
    """Never return."""
    await anyio.sleep_forever()


async def change(event: ThingMade, uow: UnitOfWork) -> None:
    """Cause one more event."""
    (await uow.things.get(event.thing_id)).rename(f"new {event.name}")


async def writes_and_hangs(event: ThingMade, uow: UnitOfWork) -> None:
    """Never return, with a change that is not committed."""
    uow.write(event.name)
    await anyio.sleep_forever()
