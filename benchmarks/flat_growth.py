"""Measures whether a registration and a claim cost more when there is a long history.

    python benchmarks/flat_growth.py [DATABASE_URL [ROWS]]

Two databases, one with 1,000 past users, each with the command, the event and a finished delivery,
the other with a million, take turns, so that the noise of the machine is the same for both. Without
a URL they are SQLite files in the current folder's file system; with the URL of a PostgreSQL
database, two more are made on its server, and dropped. Medians and their ratio are printed; the
limit is 1.2.
"""

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from tempfile import TemporaryDirectory
from uuid import uuid4

import anyio
from sqlalchemy import make_url, text

from allocation.adapters.database import Database, open_database
from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain.commands import AddCouponBatch, RegisterUser
from allocation.domain.events import UserId

FEW, MANY = 1_000, 1_000_000
WARM_UP, REPEATS = 50, 400
LIMIT = 1.2

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
    settings = Settings(database_url=url, dispatch="worker", handler_timeout_seconds=25)
    async with bootstrap(settings, delivers=False) as application:
        await fill(application.database, rows)
        await application.bus.handle(AddCouponBatch(reference="WELCOME", quantity=10**9))
        yield application


async def seconds_of(
    work: Callable[[Application], Awaitable[object]], application: Application
) -> float:
    started = time.perf_counter()
    await work(application)
    return time.perf_counter() - started


async def register(application: Application) -> object:
    user_id = UserId(uuid4())
    command = RegisterUser(user_id=user_id, name="Иван", email=f"{user_id}@example.com")
    return await application.bus.execute(command)


async def claim(application: Application) -> object:
    return await application.outbox.claim(1, list(application.bus.registry.events))


async def compare(few: Application, many: Application, rows: int) -> None:
    for work in (register, claim):
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(WARM_UP + REPEATS):
            for application, taken in zip((few, many), seconds, strict=True):
                taken += [await seconds_of(work, application)][: turn >= WARM_UP]
        before, after = map(median, seconds)
        verdict = "ok" if after <= LIMIT * before else f"over {LIMIT}"
        print(  # noqa: T201
            f"{work.__name__:12} {FEW:>9,}: {before * 1000:.2f} ms  {rows:>9,}: "
            f"{after * 1000:.2f} ms  ratio {after / before:.2f}  {verdict}"
        )


@asynccontextmanager
async def new_database(url: str, name: str) -> AsyncIterator[str]:
    async with open_database(url) as database, database.engine.connect() as connection:
        server = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await server.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield make_url(url).set(database=name).render_as_string(hide_password=False)
        finally:
            await server.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


async def main(url: str | None, rows: int) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="flat_growth_", dir="."))
        urls = [f"sqlite:///{folder}/{name}.db" for name in ("few", "many")]
        if url:
            names = [f"flat_growth_{uuid4().hex}" for _ in urls]
            urls = [await stack.enter_async_context(new_database(url, name)) for name in names]
        few = await stack.enter_async_context(filled(urls[0], FEW))
        many = await stack.enter_async_context(filled(urls[1], rows))
        await compare(few, many, rows)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    anyio.run(main, given.get(0), int(given.get(1, MANY)))
