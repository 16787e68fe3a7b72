"""Measures whether a registration and a claim cost more when there is a long history.

Two databases, one with 1,000 past users, each with the command, the event and a finished delivery,
the other with many more, take turns at every single step, so that the noise of the machine is the
same for both. The unit is milliseconds: the median of some hundred steps. A step on PostgreSQL is
that of `growth_postgresql.py`.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from statistics import median

import anyio
from sqlalchemy import text

from allocation.adapters.database import Database
from allocation.bootstrap import Application, bootstrap
from benchmarks.application import COUPONS, registration, settings_for
from benchmarks.files import folder
from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.results import Topic

FEW = 1_000
WARM_UP = 50
LIMIT = Goal(1.2, at_most=True)

FILL = (
    """
    INSERT INTO users (id, name, email, email_key, version)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
    SELECT {new_id}, 'Иван', 'old' || i || '@example.com', 'old' || i || '@example.com', 1 FROM n
    """,
    """
    INSERT INTO commands (id, type, source, correlation_id, accepted_at)
    SELECT id, 'register_user', 'cli', id, 1e9 FROM users
    """,
    """
    INSERT INTO events (id, source, type, schema_version, subject, time, correlation_id,
        causation_id, data, recorded_at)
    SELECT id, '/allocation', 'user_registered', 2, {subject}, {time}, id, id, '{{}}', 1e9
    FROM users
    """,
    """
    INSERT INTO deliveries (event_id, handler, attempts, token, process, finished_at, seconds)
    SELECT id, 'send_welcome_email', 1, 1, 'host:1', 1e9, 0.01 FROM events
    """,
)
WORDS = {
    "sqlite": {
        "new_id": "lower(hex(randomblob(16)))",
        "subject": "id",
        "time": "'2026-01-01 00:00:00.000000'",
    },
    "postgresql": {
        "new_id": "gen_random_uuid()",
        "subject": "CAST(id AS text)",
        "time": "CAST('2026-01-01' AS timestamptz)",
    },
}


Step = Callable[[Application], Awaitable[object]]
Figures = dict[str, tuple[float, float]]
"""Of each step: what it takes with few and with many rows."""


async def fill(database: Database, rows: int) -> None:
    words = WORDS[database.engine.dialect.name]
    async with database.writing(takes_time=True) as session:
        for statement in FILL:
            await session.execute(text(statement.format(rows=rows, **words)))
        await session.commit()
    async with database.engine.connect() as connection:
        autocommit = await connection.execution_options(
            isolation_level="AUTOCOMMIT", sqlite_begin="BEGIN"
        )
        if database.engine.dialect.name == "postgresql":
            await autocommit.execute(text("VACUUM ANALYZE"))
            await autocommit.execute(text("CHECKPOINT"))
        else:
            await autocommit.execute(text("ANALYZE"))
            await autocommit.commit()


@asynccontextmanager
async def filled(url: str, rows: int) -> AsyncIterator[Application]:
    settings = settings_for(url, dispatch="worker", handler_timeout_seconds=25)
    async with bootstrap(settings, delivers=False) as application:
        await fill(application.database, rows)
        await application.bus.handle(COUPONS)
        yield application


async def register(application: Application) -> object:
    return await application.bus.execute(registration())


async def claim(application: Application) -> object:
    return await application.outbox.claim(1, list(application.bus.registry.events))


STEPS: dict[str, Step] = {"a registration": register, "a claim": claim}


async def compare(few_url: str, many_url: str, *, rows: int, repeats: int) -> Figures:
    """Return the medians, in milliseconds."""
    async with AsyncExitStack() as stack:
        few = await stack.enter_async_context(filled(few_url, FEW))
        many = await stack.enter_async_context(filled(many_url, rows))
        return {name: await _medians(step, (few, many), repeats) for name, step in STEPS.items()}


async def _medians(
    step: Step, applications: tuple[Application, Application], repeats: int
) -> tuple[float, float]:
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(WARM_UP + repeats):
        for application, taken in zip(applications, seconds, strict=True):
            started = time.perf_counter()
            await step(application)
            taken += [time.perf_counter() - started][: turn >= WARM_UP]
    before, after = map(median, seconds)
    return before * 1000, after * 1000


@cache
def on_sqlite(rows: int, repeats: int) -> Figures:
    """Compare two files."""
    with folder() as place:
        urls = [f"sqlite:///{place}/{name}.db" for name in ("few", "many")]
        return anyio.run(partial(compare, *urls, rows=rows, repeats=repeats))


def growing(
    database: str, measured: Callable[[int, int], Figures], effort: Effort
) -> Iterator[Contest]:
    """Yield one for each step; all come from one comparison, whose steps have taken turns."""
    rows, repeats = effort.pick(100_000, 1_000_000), effort.pick(150, 400)
    for step in STEPS:
        few, many = (partial(_figure, measured, rows, repeats, step, which) for which in (0, 1))
        way = Way(name=f"with {FEW:,}", once=few, goal=LIMIT)
        what = f"{database}: {step} with {rows:,} in the past"
        yield Contest(what=what, unit="ms", ours=many, ways=[way], rounds=1)


def _figure(
    measured: Callable[[int, int], Figures], rows: int, repeats: int, step: str, which: int
) -> float:
    return measured(rows, repeats)[step][which]


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield what is measured on SQLite."""
    yield from growing("SQLite", on_sqlite, effort)


TOPIC = Topic(
    name="growth",
    title="A long history",
    meaning=(
        "What was done stays, so the tables grow; a registration and a claim have to cost the same"
        " with a long history as with a short one. Two databases take turns at each step; the ratio"
        " is that of the medians."
    ),
    contests=contests,
)
