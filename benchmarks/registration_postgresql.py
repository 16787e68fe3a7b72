# room: postgresql
"""Measures a whole registration on PostgreSQL: see `registration.py`."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import anyio
from sqlalchemy import make_url

from benchmarks.application import rate
from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.registration import BY_HAND, UNIT, ours
from benchmarks.registration_asyncpg import by_asyncpg
from benchmarks.registration_by_hand import by_sqlalchemy
from benchmarks.registration_sql import Work
from benchmarks.results import Topic
from benchmarks.servers import new_database, template

WHY = (
    "By hand, a processor works 3.7 ms for a registration, here 7.7 ms, for the reasons "
    "above; and each transaction asks first whether its connection still lives, so that "
    "a server that was started anew costs nobody an error."
)


class OnPostgreSQL:
    """Rounds with so many registrations at a time, each in a new database."""

    def __init__(self, at_a_time: int, effort: Effort) -> None:
        self._at_a_time, self._seconds = at_a_time, effort.seconds

    def ours(self) -> float:
        """Measure the application."""
        with new_database(template()) as url:
            return self._run(ours(url, "asyncio"))

    def by_hand(self) -> float:
        """Measure SQLAlchemy."""
        with new_database(template()) as url:
            with_driver = make_url(url).set(drivername="postgresql+asyncpg")
            return self._run(by_sqlalchemy(with_driver.render_as_string(hide_password=False)))

    def raw(self) -> float:
        """Measure asyncpg."""
        with new_database(template()) as url:
            return self._run(by_asyncpg(url))

    def _run(self, opening: AbstractAsyncContextManager[Work]) -> float:
        async def main() -> float:
            async with opening as work:
                return await rate(work, at_a_time=self._at_a_time, seconds=self._seconds)

        return anyio.run(main)


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield what is measured on PostgreSQL."""
    for at_a_time in (1, 10):
        rounds = OnPostgreSQL(at_a_time, effort)
        ways = [
            Way(name=BY_HAND, once=rounds.by_hand, goal=Goal(0.9)),
            Way(name="asyncpg", once=rounds.raw, goal=Goal(0.4), is_limit=True),
        ]
        what = f"PostgreSQL, {at_a_time} at a time"
        yield Contest(what=what, unit=UNIT, ours=rounds.ours, ways=ways)


TOPIC = Topic(
    name="registration_postgresql",
    title="A whole registration on PostgreSQL",
    meaning=(
        "The same on a server, with ten connections for each way."
        " Handlers run side by side in all of them."
    ),
    contests=contests,
    why=WHY,
)
