"""Measures a whole registration: the command, its four handlers, the coupon and its effects.

The unit is registrations a second, in a new database, without e-mails. "By hand" means the same
statements in the same transactions on SQLAlchemy; the limit is the same on the driver alone.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import anyio

from benchmarks.databases import Place, new_database, new_url
from benchmarks.measured_application import opened, rate, registration, settings_for
from benchmarks.measuring import Contest, Effort, Way
from benchmarks.registration_by_hand import by_asyncpg, by_sqlalchemy, by_sqlite3
from benchmarks.registration_by_hand_statements import Work

UNIT = "registrations/s"
BY_HAND = "by hand on SQLAlchemy"
COMPARED = [  # driver, event loop, how many at a time, compared with what
    ("aiosqlite", "asyncio", 1, (BY_HAND, "sqlite3")),
    ("aiosqlite", "asyncio", 20, (BY_HAND,)),
    ("anyio", "asyncio", 1, (BY_HAND, "sqlite3")),
    ("anyio", "trio", 1, ("sqlite3",)),
]

Opening = Callable[[str], AbstractAsyncContextManager[Work]]
"""Opens something that registers users, for the URL of a database."""


@asynccontextmanager
async def ours(url: str, backend: str = "asyncio") -> AsyncIterator[Work]:
    """Open the application, and return a function that registers a user."""
    async with opened(settings_for(url, event_loop=backend)) as application:
        yield lambda: application.bus.handle(registration())


def once(place: Place, at_a_time: int, seconds: float, backend: str, opening: Opening) -> float:
    """Measure registrations a second, some concurrently, in a new database."""

    async def main(url: str) -> float:
        async with opening(url) as work:
            return await rate(work, at_a_time=at_a_time, seconds=seconds)

    with place() as url:
        return anyio.run(main, url, backend=backend)


def on_sqlite(effort: Effort) -> Iterator[Contest]:
    """Yield a contest for each driver and event loop."""
    for driver, backend, at_a_time, others in COMPARED:
        by = partial(partial, once, partial(new_url, driver), at_a_time, effort.seconds, backend)
        ways = [
            Way(name=BY_HAND, once=by(by_sqlalchemy)),
            Way(name="sqlite3", once=by(by_sqlite3), is_limit=True),
        ]
        where = f"{driver} on {backend.capitalize()}" if backend != "asyncio" else driver
        yield Contest(
            what=f"SQLite, {where}, {at_a_time} at a time",
            unit=UNIT,
            ours=by(partial(ours, backend=backend)),
            ways=[way for way in ways if way.name in others],
        )


def on_postgresql(effort: Effort, place: Place = new_database) -> Iterator[Contest]:
    """Yield a contest for one at a time, and for ten, with ten connections for each way."""
    for at_a_time in (1, 10):
        by = partial(partial, once, place, at_a_time, effort.seconds, "asyncio")
        ways = [
            Way(name=BY_HAND, once=by(by_sqlalchemy)),
            Way(name="asyncpg", once=by(by_asyncpg), is_limit=True),
        ]
        what = f"PostgreSQL, {at_a_time} at a time"
        yield Contest(what=what, unit=UNIT, ours=by(ours), ways=ways)
