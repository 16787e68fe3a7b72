"""Measures a whole registration: the command, its four handlers, the coupon and what it causes.

The unit is registrations a second, from a new database on, without e-mails.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import anyio

from allocation.bootstrap import bootstrap
from benchmarks.application import rate, registration, settings_for
from benchmarks.files import new_file
from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.registration_by_hand import by_sqlalchemy
from benchmarks.registration_raw import by_sqlite3
from benchmarks.registration_sql import Work
from benchmarks.results import Topic

UNIT = "registrations/s"
BY_HAND = "by hand on SQLAlchemy"
# driver, event loop, how many at a time, goals of ours ÷ by hand and ÷ sqlite3; None: not compared
COMPARED: list[tuple[str, str, int, Goal | None, Goal | None]] = [
    ("aiosqlite", "asyncio", 1, Goal(0.9), Goal(0.3)),
    ("aiosqlite", "asyncio", 20, Goal(0.9), None),
    ("anyio", "asyncio", 1, Goal(0.9), Goal(0.45)),
    ("anyio", "trio", 1, None, Goal(0.4)),  # room: trio
]
WHY = (
    "By hand, a processor works 5.0 ms for a registration (driver anyio), here 8.1 ms. Of the "
    "difference, SQLAlchemy's mapping of objects takes half (identity map, what has changed, "
    "flush), and the bus, the outbox, the unit of work and their guards the other half: 8 "
    "deliveries, each with a task, a time limit, a context for the log and observers. "
    "Aggregates that know no SQL, and guards against what a handler may do wrong, are what "
    "this program is about, so they stay. sqlite3 knows no event loop; with one, each of "
    "about 60 calls goes to another thread and back, by hand, too."
)


@asynccontextmanager
async def ours(url: str, backend: str) -> AsyncIterator[Work]:
    """Open the application, and return what registers a user with it."""
    async with bootstrap(settings_for(url, backend=backend)) as application:
        yield lambda: application.bus.handle(registration())


async def _rate(
    opening: AbstractAsyncContextManager[Work], *, at_a_time: int, seconds: float
) -> float:
    async with opening as work:
        return await rate(work, at_a_time=at_a_time, seconds=seconds)


class OnSQLite:
    """Rounds on one driver of SQLite and one event loop, each with a new file."""

    def __init__(self, driver: str, backend: str, at_a_time: int, effort: Effort) -> None:
        self._scheme, self._backend = f"sqlite+{driver}", backend
        self._rate = partial(_rate, at_a_time=at_a_time, seconds=effort.seconds)

    def ours(self) -> float:
        """Measure the application."""
        with new_file() as file:
            return self._run(ours(f"{self._scheme}:///{file}", self._backend))

    def by_hand(self) -> float:
        """Measure SQLAlchemy with the same driver."""
        with new_file() as file:
            return self._run(by_sqlalchemy(f"{self._scheme}:///{file}"))

    def raw(self) -> float:
        """Measure sqlite3."""
        with new_file() as file:
            return self._run(by_sqlite3(str(file)))

    def _run(self, opening: AbstractAsyncContextManager[Work]) -> float:
        return anyio.run(self._rate, opening, backend=self._backend)


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield what is measured on SQLite."""
    for driver, backend, at_a_time, by_hand, raw in COMPARED:
        rounds = OnSQLite(driver, backend, at_a_time, effort)
        ways = []
        if by_hand:
            ways.append(Way(name=BY_HAND, once=rounds.by_hand, goal=by_hand))
        if raw:
            ways.append(Way(name="sqlite3", once=rounds.raw, goal=raw, is_limit=True))
        where = f"{driver} on {backend.capitalize()}" if backend != "asyncio" else driver
        what = f"SQLite, {where}, {at_a_time} at a time"
        yield Contest(what=what, unit=UNIT, ours=rounds.ours, ways=ways)


TOPIC = Topic(
    name="registration",
    title="A whole registration",
    meaning=(
        "Somebody registers: the command, its event, four handlers, a coupon, and the two handlers"
        " that follow from it, with the e-mails dropped. *By hand* is the same statements in the"
        " same transactions on SQLAlchemy, and the limit is the same on the driver alone, so the"
        " ratio is what is left beside the bus, the outbox, the domain and the guards."
    ),
    contests=contests,
    why=WHY,
)
