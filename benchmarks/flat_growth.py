"""Measures whether a registration and a claim cost more when there is a long history.

One database has 10,000 past users, each with the command, the event, a finished delivery and a row
of the read model; the other has many more. They take turns at every single step, so that the noise
of the machine is the same for both. The unit is milliseconds: the median of some hundred steps.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from statistics import median

import anyio
from aftercommit import Application

from benchmarks.databases import EMPTY, store
from benchmarks.measured_application import COUPONS, opened, registration, settings_for
from benchmarks.measuring import Contest, Effort, Way

FEW = 10_000
WARM_UP = 50

FILL = (
    """
    INSERT INTO users (id, name, email, email_key, version)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
    SELECT {new_id}, 'Иван', 'old' || i || '@example.com', 'old' || i || '@example.com', 1 FROM n
    """,
    """
    INSERT INTO user_view (user_id, name, email, email_undeliverable)
    SELECT id, name, email, email_undeliverable FROM users
    """,
    """
    INSERT INTO aftercommit_commands (id, type, source, correlation_id, accepted_at)
    SELECT id, 'register_user', 'cli', id, 1e9 FROM users
    """,
    """
    INSERT INTO aftercommit_events (id, source, type, schema_version, subject, time, correlation_id,
        causation_id, data, recorded_at)
    SELECT id, '/allocation', 'user_registered', 2, CAST(id AS text), {time}, id, id, '{{}}', 1e9
    FROM users
    """,
    """
    INSERT INTO aftercommit_deliveries (event_id, handler, attempts, token, owner, completed_at,
        duration_seconds, schema_version)
    SELECT id, 'send_welcome_email', 1, 1, 'host:1', 1e9, 0.01, 1 FROM aftercommit_events
    """,
)
Step = Callable[[Application], Awaitable[object]]
STEPS: dict[str, tuple[str, Step]] = {
    "a registration": ("worker", lambda application: application.bus.execute(registration())),
    "a registration with all its handlers": (
        "inline",
        lambda application: application.bus.handle(registration()),
    ),
    "a claim": (  # of what the first step has left to workers
        "worker",
        lambda application: application.bus.delivery_store.claim(
            1, list(application.bus.registry.events)
        ),
    ),
}
"""What is measured, by its name, and who runs the handlers of its events."""


async def medians(step: Step, *applications: Application, repeats: int) -> list[float]:
    """Do a step in each application in turn; return the median of each, in milliseconds."""
    seconds: list[list[float]] = [[] for _ in applications]
    for _ in range(WARM_UP + repeats):
        for application, taken in zip(applications, seconds, strict=True):
            started = time.perf_counter()
            await step(application)
            taken.append(time.perf_counter() - started)
    return [median(taken[WARM_UP:]) * 1000 for taken in seconds]


def opened_to(dispatch: str, url: str) -> AbstractAsyncContextManager[Application]:
    settings = settings_for(url, dispatch=dispatch, handler_timeout_seconds=25)
    return opened(settings, delivers=dispatch == "inline")


async def fill(url: str, rows: int) -> None:
    async with opened_to("worker", url) as application:
        await store(application.database, FILL, rows=rows)
        await application.bus.handle(COUPONS)


async def compare(few_url: str, many_url: str, rows: int, repeats: int) -> dict[str, list[float]]:
    """Return how long each step takes with few and with many rows."""
    await fill(few_url, FEW)
    await fill(many_url, rows)
    found = {}
    for name, (dispatch, step) in STEPS.items():
        async with opened_to(dispatch, few_url) as few, opened_to(dispatch, many_url) as many:
            found[name] = await medians(step, few, many, repeats=repeats)
    return found


def contests(database: str, effort: Effort) -> Iterator[Contest]:
    """Yield one contest for each step; all come from one comparison, whose steps took turns."""
    rows, repeats = effort.pick(100_000, 1_000_000), effort.pick(150, 400)
    with EMPTY[database]() as few_url, EMPTY[database]() as many_url:
        found = anyio.run(compare, few_url, many_url, rows, repeats)
    for step, (few, many) in found.items():
        way = Way(name=f"with {FEW:,}", once=partial(float, few))
        what = f"{database}: {step} with {rows:,} in the past"
        yield Contest(what=what, unit="ms", ours=partial(float, many), ways=[way], rounds=1)
