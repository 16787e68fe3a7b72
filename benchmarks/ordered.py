"""Measures the cost of an order: claims next to long lanes, deliveries in a row, and a race.

Each is compared with the same work of an unordered handler. In the race, a delivery that comes too
early, or never, is an error.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import count

import anyio
from aftercommit import Application, Envelope, Ordered
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker

from allocation.domain.events import UserRegistered
from allocation.service_layer.handlers import HANDLERS as TABLE
from benchmarks.databases import EMPTY
from benchmarks.due_jobs import UNORDERED, store_due
from benchmarks.flat_growth import medians
from benchmarks.measured_application import handled_by, opened, registration, settings_for
from benchmarks.measuring import Contest, Effort, Way

WAITING, CLAIMABLE, ROW = 100_000, 4_000, 100
IN_ONE = f"CASE WHEN position > {CLAIMABLE} THEN 'no_op:x' ELSE 'no_op:' || position END"
LAYOUTS = {
    f"{WAITING:,} waiting in one lane": UNORDERED
    | {"lane": IN_ONE, "blocked": f"(position > {CLAIMABLE} + 1)"},
    f"{WAITING:,} lanes with retrying heads": UNORDERED
    | {"lane": "'no_op:' || position", "later": f"position > {CLAIMABLE}"},
    f"{WAITING // 2:,} lanes of two, with parked heads": UNORDERED
    | {
        "lane": "'no_op:' || (position / 2)",
        "parked": f"position > {CLAIMABLE} AND position % 2 = 0",
        "blocked": "(position % 2 = 1 AND position > 1)",
    },
}
IN_A_ROW = UNORDERED | {"lane": "'no_op:x'", "blocked": "(position > 1)"}


async def no_op(event: UserRegistered) -> None:
    """Do nothing."""


async def claim(application: Application) -> None:
    """Claim ten deliveries."""
    assert len(await application.bus.delivery_store.claim(10, ["no_op"])) == 10


async def claims(urls: tuple[str, str], layout: dict[str, str], repeats: int) -> list[float]:
    """Return how many milliseconds a claim of ten takes, with lanes and without."""
    async with AsyncExitStack() as stack:
        applications = [await stack.enter_async_context(opened(settings_for(u))) for u in urls]
        for application, each in zip(applications, (layout, UNORDERED), strict=True):
            await store_due(application.database, WAITING, layout=each)
        return await medians(claim, *applications, repeats=repeats)


async def in_a_row(url: str, layout: dict[str, str]) -> float:
    """Return how many milliseconds a worker takes from one delivery to the next."""
    settings = settings_for(url, dispatch="worker")
    with handled_by({UserRegistered: [no_op]}):
        async with opened(settings, delivers=False) as application:
            await store_due(application.database, ROW, layout=layout)
            began = time.perf_counter()
            worker = Worker(application, Shutdown(), concurrency=settings.worker_concurrency)
            await worker.run(until_idle=True)
            return 1000 * (time.perf_counter() - began) / ROW


class Race:
    """Producers and workers of three processes, with thirty keys."""

    def __init__(self, events: int, *, ordered: bool) -> None:
        self._events, self._ordered, self._numbers = events, ordered, count()
        self._begun = defaultdict[str, list[int]](list)
        self._done = 0
        self._all_done = anyio.Event()

    async def run(self, url: str) -> float:
        """Return the milliseconds for each event."""

        def key(event: UserRegistered) -> str:
            return str(event.user_id.int % 30)

        TABLE.keys[UserRegistered] = key

        async def note(event: UserRegistered, envelope: Envelope) -> None:
            self._begun[key(event)].append(envelope.position or 0)
            self._done += 1
            if self._done == self._events:
                self._all_done.set()

        try:
            with handled_by({UserRegistered: [Ordered(note) if self._ordered else note]}):
                async with AsyncExitStack() as stack:
                    settings = settings_for(url, dispatch="worker")
                    several = [
                        await stack.enter_async_context(opened(settings, delivers=False))
                        for _ in range(3)
                    ]
                    return await self._raced(several)
        finally:
            del TABLE.keys[UserRegistered]

    async def _raced(self, several: list[Application]) -> float:
        began, shutdown = time.perf_counter(), Shutdown()
        async with anyio.create_task_group() as group:
            for application in several:
                group.start_soon(Worker(application, shutdown, concurrency=10).run)
                for _ in range(3):
                    group.start_soon(self._produce, application)
            with anyio.fail_after(600):
                await self._all_done.wait()
            shutdown.set()
        if self._ordered and any(places != sorted(places) for places in self._begun.values()):
            raise AssertionError("some came too early")
        return 1000 * (time.perf_counter() - began) / self._events

    async def _produce(self, application: Application) -> None:
        while next(self._numbers) < self._events:
            await application.bus.execute(registration())


def contests(kind: str, effort: Effort) -> Iterator[Contest]:
    """Yield one for each layout, one for a row, and a race."""
    new = EMPTY[kind]
    for name, layout in LAYOUTS.items():
        with new() as ordered, new() as plain:
            ours, theirs = anyio.run(claims, (ordered, plain), layout, effort.pick(60, 140))
        what = f"{kind}: a claim of 10, {name}"
        ways = [Way(name=f"{WAITING:,} without an order", once=partial(float, theirs))]
        yield Contest(what=what, unit="ms", ours=partial(float, ours), ways=ways, rounds=1)

    def once(layout: dict[str, str]) -> float:
        with new() as url:
            return anyio.run(in_a_row, url, layout)

    ways = [Way(name="without an order", once=partial(once, UNORDERED))]
    what = f"{kind}: from one to the next, {ROW} in one lane"
    yield Contest(what=what, unit="ms", ours=partial(once, IN_A_ROW), ways=ways)

    events = effort.pick(450, 4_500)

    def race(*, ordered: bool) -> float:
        with new() as url:
            return anyio.run(Race(events, ordered=ordered).run, url)

    ways = [Way(name="without an order", once=partial(race, ordered=False))]
    what = f"{kind}: each of {events:,} that race in 30 lanes"
    yield Contest(what=what, unit="ms", ours=partial(race, ordered=True), ways=ways, rounds=1)
