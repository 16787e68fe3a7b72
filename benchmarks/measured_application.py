"""The application as it is measured: by its public entry points, with other handlers and no mail.

The table of handlers is a plain dict, whose contents a benchmark exchanges for a while.
"""

import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from aftercommit import IdempotencyKey
from anyio import create_task_group

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import AddCouponBatch, RegisterUser
from allocation.domain.events import Event, UserId
from allocation.entrypoints.app import APP
from allocation.service_layer.emails import Email
from allocation.service_layer.handlers import HANDLERS as TABLE

COUPONS = AddCouponBatch(reference="WELCOME", quantity=10**9)
WARM_UP = 15  # times, in which connections are opened and statements compiled


class NoMail:
    """Drops e-mails, so that no mail system is measured."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Drop it."""


WITHOUT_MAIL = APP.with_parts(open=partial(bootstrap, notifications=NoMail()), reporter=None)
"""The application with dropped e-mails and, like its peers, without output."""
opened = WITHOUT_MAIL.open
"""Opens the application for measuring."""


def settings_for(url: str, **given: Any) -> Settings:
    """Return the default settings for this database, with these changes."""
    return Settings(database_url=url, **given)


@contextmanager
def handled_by(handlers: Mapping[type[Event], Sequence[Any]]) -> Iterator[None]:
    """Give these handlers, and no others, to applications opened in this context."""
    before = dict(TABLE.events)
    TABLE.events.update({event: list(handlers.get(event, ())) for event in before})
    try:
        yield
    finally:
        TABLE.events.update(before)


def registration() -> RegisterUser:
    """Return a command with new data."""
    user_id = UserId(uuid4())
    return RegisterUser(user_id=user_id, name="Иван", email=f"{user_id}@example.com")


@contextmanager
def process(
    module: str, *arguments: str, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """Run a module of this package in a separate process while the context is open."""
    command = (sys.executable, "-m", f"benchmarks.{module}", *arguments)
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


async def rate(work: Callable[[], Awaitable[object]], *, at_a_time: int, seconds: float) -> float:
    """Repeat the work, some of it concurrently; return how often it was done per second."""
    await _repeat(work, at_a_time=at_a_time, until=lambda done: done >= WARM_UP)
    started = time.perf_counter()
    over = started + seconds
    done = await _repeat(work, at_a_time=at_a_time, until=lambda _: time.perf_counter() > over)
    return done / (time.perf_counter() - started)


async def _repeat(
    work: Callable[[], Awaitable[object]], *, at_a_time: int, until: Callable[[int], bool]
) -> int:
    done = 0

    async def repeat() -> None:
        nonlocal done
        while not until(done):
            await work()
            done += 1

    async with create_task_group() as group:
        for _ in range(at_a_time):
            group.start_soon(repeat)
    return done
