"""Measures what an order costs: claims beside long lanes, one after the other, and many that race.

Each is compared with the same work of a handler that is not ordered. In the race, what comes too
early, or never, is an error.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from itertools import count
from statistics import median

import anyio
from aftercommit import Envelope, Ordered
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from aftercommit.process.worker import Worker
from sqlalchemy import text

from allocation.domain.events import UserRegistered
from allocation.service_layer.handlers import HANDLERS as TABLE
from benchmarks.application import handled_by, opened, registration, settings_for
from benchmarks.databases import Place, folder, new_database
from benchmarks.flat_growth import TIDY, WORDS
from benchmarks.measuring import Contest, Effort, Way

WAITING, CLAIMABLE, ROW = 100_000, 2_000, 100
EVENTS = """
INSERT INTO aftercommit_events (id, source, type, schema_version, subject, time, correlation_id,
    causation_id, data, recorded_at, position)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
SELECT {new_id}, '/allocation', 'user_registered', 2, 'a user', {time}, {new_id}, {new_id},
    '{{"user_id":"7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11","name":"Иван","email":"i@example.com"}}',
    0, i FROM n
"""
DELIVERIES = """
INSERT INTO aftercommit_deliveries (event_id, handler, attempts, token, available_at, parked_at,
    lane, position, blocked)
SELECT id, 'no_op', 0, 1, CASE WHEN {later} THEN 1e11 ELSE 0 END + position,
    CASE WHEN {parked} THEN 0 END, {lane}, position, {blocked} FROM aftercommit_events
"""
UNORDERED = {"later": "1 = 0", "parked": "1 = 0", "lane": "NULL", "blocked": "(1 = 0)"}
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


async def filled(application: Application, rows: int, layout: dict[str, str]) -> None:
    """Store so many events, each with a delivery."""
    database = application.database
    kind = database.engine.dialect.name
    async with database.write_transaction(no_timeout=True) as transaction:
        for statement in (EVENTS, DELIVERIES):
            sql = statement.format(rows=rows, **WORDS[kind], **layout)
            await transaction.execute(text(sql))
        await transaction.commit()
    async with database.engine.connect() as connection:
        options = {"isolation_level": "AUTOCOMMIT", "sqlite_begin": "BEGIN"}
        autocommit = await connection.execution_options(**options)
        for statement in TIDY[kind]:
            await autocommit.execute(text(statement))
        await autocommit.commit()


async def claims(urls: tuple[str, str], layout: dict[str, str], repeats: int) -> list[float]:
    """Return how many milliseconds a claim of ten takes: in lanes, and without."""
    taken: tuple[list[float], list[float]] = ([], [])
    async with AsyncExitStack() as stack:
        applications = []
        for url, each in zip(urls, (layout, UNORDERED), strict=True):
            applications.append(await stack.enter_async_context(opened(settings_for(url))))
            await filled(applications[-1], WAITING, each)
        for _ in range(repeats):
            for application, seconds in zip(applications, taken, strict=True):
                began = time.perf_counter()
                assert len(await application.bus.outbox.claim(10, ["no_op"])) == 10
                seconds.append(time.perf_counter() - began)
    return [1000 * median(seconds[10:]) for seconds in taken]


async def in_a_row(url: str, layout: dict[str, str]) -> float:
    """Return how many milliseconds a worker takes from one to the next."""
    settings = settings_for(url, dispatch="worker")
    with handled_by({UserRegistered: [no_op]}):
        async with opened(settings, delivers=False) as application:
            await filled(application, ROW, layout)
            began = time.perf_counter()
            worker = Worker(application, Shutdown(), concurrency=settings.worker_concurrency)
            await worker.run(until_idle=True)
            return 1000 * (time.perf_counter() - began) / ROW


class Race:
    """Three processes' worth of producers and workers; thirty keys."""

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


def on_sqlite(effort: Effort) -> Iterator[Contest]:
    """Measure in files."""

    @contextmanager
    def new() -> Iterator[str]:
        with folder() as place:
            yield f"sqlite:///{place}/ordered.db"

    yield from _contests("SQLite", new, effort)


def on_postgresql(effort: Effort) -> Iterator[Contest]:
    """Measure on a server, after VACUUM and ANALYZE."""
    yield from _contests("PostgreSQL", partial(new_database, None), effort)


def _contests(kind: str, new: Place, effort: Effort) -> Iterator[Contest]:
    for name, layout in LAYOUTS.items():
        with new() as ordered, new() as plain:
            ours, theirs = anyio.run(claims, (ordered, plain), layout, effort.pick(60, 150))
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
