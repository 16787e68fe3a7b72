"""Measures whether a registration and a claim cost more when there is a long history.

Two databases, one with 1,000 past users, each with the command, the event and a finished delivery,
the other with many more, take turns at every single step, so that the noise of the machine is the
same for both. The unit is milliseconds: the median of some hundred steps.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from statistics import median

import anyio
from aftercommit.process.application import Application
from aftercommit.sql.database import Database
from sqlalchemy import text

from benchmarks.application import COUPONS, opened, registration, settings_for
from benchmarks.databases import (
    folder,
    new_database,
)
from benchmarks.measuring import Contest, Effort, Way

FEW = 1_000
WARM_UP = 50

FILL = (
    """
    INSERT INTO users (id, name, email, email_key, version)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
    SELECT {new_id}, 'Иван', 'old' || i || '@example.com', 'old' || i || '@example.com', 1 FROM n
    """,
    """
    INSERT INTO aftercommit_commands (id, type, source, correlation_id, accepted_at)
    SELECT id, 'register_user', 'cli', id, 1e9 FROM users
    """,
    """
    INSERT INTO aftercommit_events (id, source, type, schema_version, subject, time, correlation_id,
        causation_id, data, recorded_at)
    SELECT id, '/allocation', 'user_registered', 2, {subject}, {time}, id, id, '{{}}', 1e9
    FROM users
    """,
    """
    INSERT INTO aftercommit_deliveries (event_id, handler, attempts, token, owner, completed_at,
        duration_seconds)
    SELECT id, 'send_welcome_email', 1, 1, 'host:1', 1e9, 0.01 FROM aftercommit_events
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
TIDY = {"sqlite": ["ANALYZE"], "postgresql": ["VACUUM ANALYZE", "CHECKPOINT"]}

Step = Callable[[Application], Awaitable[object]]
Figures = dict[str, tuple[float, float]]
"""Of each step: what it takes with few and with many rows."""


async def fill(database: Database, rows: int) -> None:
    words = WORDS[database.engine.dialect.name]
    async with database.write_transaction(no_timeout=True) as transaction:
        for statement in FILL:
            await transaction.execute(text(statement.format(rows=rows, **words)))
        await transaction.commit()
    async with database.engine.connect() as connection:
        autocommit = await connection.execution_options(
            isolation_level="AUTOCOMMIT", sqlite_begin="BEGIN"
        )
        for statement in TIDY[database.engine.dialect.name]:
            await autocommit.execute(text(statement))
        await autocommit.commit()


@asynccontextmanager
async def filled(url: str, rows: int) -> AsyncIterator[Application]:
    settings = settings_for(url, dispatch="worker", handler_timeout_seconds=25)
    async with opened(settings, delivers=False) as application:
        await fill(application.database, rows)
        await application.bus.handle(COUPONS)
        yield application


STEPS: dict[str, Step] = {
    "a registration": lambda application: application.bus.execute(registration()),
    "a claim": lambda application: application.bus.outbox.claim(
        1, list(application.bus.registry.events)
    ),
}


async def compare(few_url: str, many_url: str, rows: int, repeats: int) -> Figures:
    """Return the medians, in milliseconds."""
    async with filled(few_url, FEW) as few, filled(many_url, rows) as many:
        return {name: await _medians(step, (few, many), repeats) for name, step in STEPS.items()}


async def _medians(
    step: Step, applications: tuple[Application, Application], repeats: int
) -> tuple[float, float]:
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARM_UP + repeats):
        for application, taken in zip(applications, seconds, strict=True):
            started = time.perf_counter()
            await step(application)
            taken.append(time.perf_counter() - started)
    few, many = (median(taken[WARM_UP:]) * 1000 for taken in seconds)
    return few, many


def on_sqlite(effort: Effort) -> Iterator[Contest]:
    """Compare two files."""
    with folder() as place:
        few, many = (f"sqlite:///{place}/{name}.db" for name in ("few", "many"))
        yield from _growing("SQLite", few, many, effort)


def on_postgresql(effort: Effort) -> Iterator[Contest]:
    """Compare two databases on a server, after VACUUM and ANALYZE."""
    with new_database(None) as few, new_database(None) as many:
        yield from _growing("PostgreSQL", few, many, effort)


def _growing(database: str, few_url: str, many_url: str, effort: Effort) -> Iterator[Contest]:
    """Yield one for each step; all come from one comparison, whose steps have taken turns."""
    rows, repeats = effort.pick(100_000, 1_000_000), effort.pick(150, 400)
    for step, (few, many) in anyio.run(compare, few_url, many_url, rows, repeats).items():
        way = Way(name=f"with {FEW:,}", once=partial(float, few))
        what = f"{database}: {step} with {rows:,} in the past"
        yield Contest(what=what, unit="ms", ours=partial(float, many), ways=[way], rounds=1)
