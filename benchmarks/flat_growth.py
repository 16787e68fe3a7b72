"""Measures whether a registration and a claim cost more when there are a million users and events.

    python benchmarks/flat_growth.py DATABASE_URL [ROWS]

The database has to be empty; it is filled. Medians and their ratio are printed; the limit is 1.2.
"""

import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from uuid import uuid4

import anyio
from sqlalchemy import text

from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain.commands import AddCouponBatch, RegisterUser
from allocation.domain.events import UserId

FEW = 1_000
REPEATS = 400
LIMIT = 1.2

FILL_USERS = """
INSERT INTO users (id, name, email, email_key, version)
SELECT gen_random_uuid(), 'Иван', 'old' || n || '@example.com', 'old' || n || '@example.com', 1
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""
FILL_EVENTS = """
INSERT INTO events
    (id, source, type, subject, time, correlation_id, causation_id, data, recorded_at)
SELECT gen_random_uuid(), '/allocation', 'user_registered', id::text, now(), id, id, '{}', 0
FROM users WHERE email LIKE 'old%' AND NOT EXISTS (SELECT 1 FROM events WHERE subject = id::text)
"""


async def fill(application: Application, first: int, last: int) -> None:
    async with application.database.writing() as session:
        await session.execute(text(FILL_USERS), {"first": first, "last": last})
        await session.execute(text(FILL_EVENTS))
        await session.execute(text("DELETE FROM deliveries"))  # the same number is owed each time
        await session.commit()
    async with application.database.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("VACUUM ANALYZE"))
        await autocommit.execute(text("CHECKPOINT"))


async def median_seconds(work: Callable[[], Awaitable[object]]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        await work()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


async def measure(application: Application) -> tuple[float, float]:
    async def register() -> None:
        user_id = UserId(uuid4())
        command = RegisterUser(user_id=user_id, name="Иван", email=f"{user_id}@example.com")
        await application.bus.execute(command)

    registration = await median_seconds(register)
    claim = await median_seconds(
        lambda: application.outbox.claim(1, list(application.bus.registry.events))
    )
    return registration, claim


async def main(url: str, many: int) -> None:
    settings = Settings(database_url=url, dispatch="worker")
    async with bootstrap(settings, delivers=False) as application:
        await application.bus.handle(AddCouponBatch(reference="WELCOME", quantity=10**9))
        await fill(application, 1, FEW)
        await measure(application)  # warms everything up
        few = await measure(application)
        await fill(application, FEW + 1, many)
        lots = await measure(application)
    for name, before, after in zip(("registration", "claim"), few, lots, strict=True):
        verdict = "ok" if after <= LIMIT * before else f"over {LIMIT}"
        print(  # noqa: T201
            f"{name:12} {FEW:>9,}: {before * 1000:.2f} ms  {many:>9,}: {after * 1000:.2f} ms  "
            f"ratio {after / before:.2f}  {verdict}"
        )


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
