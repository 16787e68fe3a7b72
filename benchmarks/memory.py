"""Measures the memory of events in flight: kB for each event whose one handler has begun.

Counted by Python's own allocator, so that it is the same on every machine.
"""

import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from uuid import uuid4

import anyio

from allocation.bootstrap import bootstrap
from allocation.domain.events import Event, UserRegistered
from allocation.service_layer.envelopes import EventId
from benchmarks.application import handled_by, registration, settings_for
from benchmarks.dispatch import NoOutbox
from benchmarks.files import new_file
from benchmarks.measuring import Contest, Effort, Way
from benchmarks.results import Topic

EVENTS = 1_000


class Gate:
    """Holds all who come, and knows when all have come."""

    def __init__(self) -> None:
        self._inside = 0
        self.all_inside, self.opened = anyio.Event(), anyio.Event()

    async def wait(self, event: Event | None) -> None:
        """Wait until it is opened."""
        self._inside += 1
        if self._inside == EVENTS:
            self.all_inside.set()
        await self.opened.wait()


def ours() -> float:
    """Measure the bus, which dispatches each event in a task of its own."""
    with new_file() as file:
        return anyio.run(_ours, f"sqlite:///{file}")


async def _ours(url: str) -> float:
    gate = Gate()

    async def handler(event: Event) -> None:
        await gate.wait(event)

    with handled_by({UserRegistered: [handler]}):
        async with bootstrap(settings_for(url)) as application:
            (first,) = await application.bus.execute(registration())
            bus = replace(application.bus, outbox=NoOutbox())

            async def dispatch() -> None:
                await bus.dispatch([replace(first, id=EventId(uuid4()))])

            return await _kilobytes_each(dispatch, gate)


def bare() -> float:
    """Measure the tasks alone."""

    async def main() -> float:
        gate = Gate()
        return await _kilobytes_each(partial(gate.wait, None), gate)

    return anyio.run(main)


async def _kilobytes_each(work: Callable[[], Awaitable[object]], gate: Gate) -> float:
    async def task() -> None:
        await work()

    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    async with anyio.create_task_group() as group:
        for _ in range(EVENTS):
            group.start_soon(task)
        await gate.all_inside.wait()
        after, _ = tracemalloc.get_traced_memory()
        gate.opened.set()
    tracemalloc.stop()
    return (after - before) / EVENTS / 1000


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    way = Way(name="a bare task", once=bare, is_limit=True)
    what = f"{EVENTS:,} events in flight"
    yield Contest(what=what, unit="kB/event", ours=ours, ways=[way], rounds=3)


TOPIC = Topic(
    name="memory",
    title="Memory of an event in flight",
    meaning=(
        "What each event takes while its one handler waits for somebody: envelope, delivery, task,"
        " time limit and context. The limit is AnyIO's task alone. There is no goal."
    ),
    contests=contests,
)
