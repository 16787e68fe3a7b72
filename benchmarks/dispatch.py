"""Measures the bus alone: events a second, handed to handlers that do nothing.

The outbox does nothing either. The limit is a task group of AnyIO that runs the same handlers, one
task for each.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from allocation.bootstrap import bootstrap
from allocation.domain.events import Event, UserRegistered
from allocation.service_layer.deliveries import Delivery, Failure
from benchmarks.application import handled_by, registration, settings_for
from benchmarks.databases import new_file
from benchmarks.measuring import Contest, Effort, Way

NEVER = {"lease_seconds": 10**6, "handler_timeout_seconds": 10**5}
NoOp = Callable[[Event | None], Coroutine[Any, Any, None]]

AT_ONCE = 50  # events between two looks at the clock


class NoOutbox:
    """Takes note of nothing, and owes nothing."""

    async def settle(self, delivery: Delivery) -> None:
        """Forget it."""

    async def record_failure(self, failure: Failure) -> None:
        """Raise it: a benchmark of failing handlers measures nothing."""
        raise failure.error

    async def release(self, claims: Collection[Delivery]) -> None:
        """Forget it."""

    async def claim(self, limit: int, handlers: object) -> Sequence[Delivery]:
        """Find nothing."""
        return ()

    async def seconds_until_due(self, handlers: object, *, scheduled: bool = True) -> float | None:
        """Find nothing."""
        return None


def no_ops(count: int) -> list[NoOp]:
    """Return so many handlers that do nothing, each with a name of its own."""

    def named(number: int) -> NoOp:
        async def handler(event: Event | None) -> None:
            pass

        handler.__name__ = f"handler_{number}"
        return handler

    return [named(number) for number in range(count)]


class Dispatching:
    """Rounds with so many handlers of one event."""

    def __init__(self, handlers: int, effort: Effort) -> None:
        self._handlers = no_ops(handlers)
        self._seconds = effort.seconds

    def ours(self) -> float:
        """Measure the bus."""
        with new_file() as file, handled_by({UserRegistered: self._handlers}):
            return anyio.run(self._by_the_bus, f"sqlite:///{file}")

    def bare(self) -> float:
        """Measure a task group."""
        return anyio.run(_events_per_second, self._in_a_group, self._seconds)

    async def _by_the_bus(self, url: str) -> float:
        async with bootstrap(settings_for(url, **NEVER)) as application:
            events = await application.bus.execute(registration())
            bus = replace(application.bus, outbox=NoOutbox())
            return await _events_per_second(
                partial(bus.run_deliveries, events.claims), self._seconds
            )

    async def _in_a_group(self) -> None:
        async with anyio.create_task_group() as group:
            for handler in self._handlers:
                group.start_soon(handler, None)


async def _events_per_second(dispatch: Callable[[], Awaitable[object]], seconds: float) -> float:
    for _ in range(AT_ONCE):
        await dispatch()
    done, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        for _ in range(AT_ONCE):
            await dispatch()
        done += AT_ONCE
    return done / taken


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield one for each number of handlers."""
    for handlers in (1, 3, 10):
        rounds = Dispatching(handlers, effort)
        way = Way(name="a bare task group", once=rounds.bare, is_limit=True)
        what = f"{handlers} handlers" if handlers > 1 else "1 handler"
        yield Contest(what=what, unit="events/s", ours=rounds.ours, ways=[way])
