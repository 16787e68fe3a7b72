"""Measures the bus alone: events a second, passed to handlers that do nothing.

The delivery store does nothing, either. The limit is a task group of AnyIO that runs the same
handlers, one task for each.
"""

from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from aftercommit.claims import Claim, Failure
from aftercommit.limits import NO_LIMITS, Limits

from allocation.domain.events import Event, UserRegistered
from benchmarks.databases import new_file
from benchmarks.measured_application import handled_by, opened, rate, registration, settings_for
from benchmarks.measuring import Contest, Effort, Way

NEVER = {"lease_seconds": 10**6, "handler_timeout_seconds": 10**5}
NoOp = Callable[[Event | None], Coroutine[Any, Any, None]]


class NoDeliveryStore:
    """A delivery store that stores nothing, and has nothing to deliver."""

    limits: Limits = NO_LIMITS
    instead: Collection[str] = ()
    most_handlers: int = 100

    async def complete(self, delivery: Claim, *, follow: bool = True) -> Sequence[Claim]:
        """Do nothing."""
        return ()

    async def record_failure(self, failure: Failure) -> None:
        """Raise it: a benchmark of failing handlers measures nothing."""
        raise failure.error

    async def release(self, claims: Collection[Claim], *, interrupted: bool = False) -> None:
        """Do nothing."""

    async def ensure_not_paused(self, delivery: Claim) -> None:
        """Report no pause."""

    async def claim(self, limit: int, handlers: object) -> Sequence[Claim]:
        """Find nothing."""
        return ()

    async def seconds_until_due(self, handlers: object, *, scheduled: bool = True) -> float | None:
        """Find nothing."""
        return None


def no_ops(count: int) -> list[NoOp]:
    """Return this many handlers that do nothing, each with its own name."""

    def named(number: int) -> NoOp:
        async def handler(event: Event | None) -> None:
            pass

        handler.__name__ = f"handler_{number}"
        return handler

    return [named(number) for number in range(count)]


def ours(handlers: Sequence[NoOp], seconds: float) -> float:
    """Measure the bus."""
    with new_file() as file, handled_by({UserRegistered: handlers}):
        return anyio.run(_by_the_bus, f"sqlite:///{file}", seconds)


async def _by_the_bus(url: str, seconds: float) -> float:
    async with opened(settings_for(url, **NEVER)) as application:
        events = await application.bus.execute(registration())
        bus = replace(application.bus, delivery_store=NoDeliveryStore())
        work = partial(bus.run, events.claims)
        return await rate(work, at_a_time=1, seconds=seconds)


def bare(handlers: Sequence[NoOp], seconds: float) -> float:
    """Measure a task group."""

    async def in_a_group() -> None:
        async with anyio.create_task_group() as group:
            for handler in handlers:
                group.start_soon(handler, None)

    return anyio.run(partial(rate, in_a_group, at_a_time=1, seconds=seconds))


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield one for each number of handlers."""
    for count in (1, 3, 10):
        by = no_ops(count), effort.seconds
        way = Way(name="a bare task group", once=partial(bare, *by), is_limit=True)
        what = f"{count} handlers" if count > 1 else "1 handler"
        yield Contest(what=what, unit="events/s", ours=partial(ours, *by), ways=[way])
