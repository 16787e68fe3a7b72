"""The life of a coupon, which takes weeks: reminded of, redeemed or expired, and given back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from email import message_from_bytes
from typing import Any

import anyio
import pytest
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from aftercommit.process.worker import Worker
from aftercommit.settings import DAY
from aftercommit.sql import tables
from aftercommit.sql.delivery_states import delivery_state
from sqlalchemy import select

from allocation.adapters import orm
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.events import CouponAllocated
from tests.builders import a_batch, a_redemption, a_registration

pytestmark = pytest.mark.anyio

REMINDER, EXPIRY = "send_coupon_reminder", "expire_coupon"
SUBJECTS = ["Your welcome coupon", "Your welcome coupon expires soon"]
LIMIT_SECONDS = 60


def with_delays(settings: Settings, reminder: float, expiry: float) -> Settings:
    return replace(settings, coupon_reminder_seconds=reminder, coupon_expiry_seconds=expiry)


async def allocated_coupon(application: Application) -> str:
    """Let a user have a coupon; return its code."""
    await application.bus.handle(a_batch(quantity=2))
    report = await application.bus.handle(a_registration())
    [coupon] = [each.event for each in report.events if isinstance(each.event, CouponAllocated)]
    return coupon.code


@asynccontextmanager
async def a_worker(application: Application) -> AsyncIterator[None]:
    shutdown = Shutdown()
    async with anyio.create_task_group() as group:
        group.start_soon(Worker(application, shutdown, concurrency=5).run)
        yield
        shutdown.set()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(LIMIT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - no Event of ours
            await anyio.sleep(0.02)


async def rows(application: Application, *columns: Any) -> list[tuple[Any, ...]]:
    async with application.database.read_transaction() as transaction:
        return [tuple(row) for row in await transaction.execute(select(*columns))]


async def all_done(application: Application) -> bool:
    completed = await rows(application, tables.deliveries.c.completed_at)
    return all(at is not None for (at,) in completed)


async def left(application: Application) -> tuple[str, int]:
    """Return the state of the coupon, and how many are left in the batch."""
    [(state,)] = await rows(application, orm.coupons.c.state)
    [(remaining,)] = await rows(application, orm.coupon_batches.c.remaining)
    return state, remaining


async def about_coupons(settings: Settings) -> list[str]:
    """Return the subjects of the e-mails about coupons, sorted."""
    files = [file async for file in anyio.Path(str(settings.mail_folder), "new").iterdir()]
    subjects = [str(message_from_bytes(await each.read_bytes())["Subject"]) for each in files]
    return sorted(subject for subject in subjects if "coupon" in subject)


async def scheduled(application: Application) -> dict[str, float]:
    """Return in how many seconds, from when they were committed, what is for later is due."""
    due_in = tables.deliveries.c.available_at - tables.events.c.recorded_at
    state = delivery_state(application.database.clock)
    statement = select(tables.deliveries.c.handler, due_in).join(tables.events)
    async with application.database.read_transaction() as transaction:
        found: Any = await transaction.execute(statement.where(state == "scheduled"))
        return dict(found.all())


async def test_a_coupon_that_nobody_redeems_is_reminded_of_and_expires(settings: Settings) -> None:
    """Its place is given back, once; delays are shorter than a lease, and a worker has them."""
    settings = with_delays(settings, 0.2, 0.4)
    async with bootstrap(settings) as application:
        await allocated_coupon(application)
        async with a_worker(application):
            await eventually(lambda: all_done(application))

        assert await left(application) == ("expired", 2)
        names = [name for (name,) in await rows(application, tables.events.c.type)]
        assert names.count("coupon_expired") == 1
    assert await about_coupons(settings) == SUBJECTS


async def test_a_coupon_that_is_redeemed_is_neither_reminded_of_nor_expires(
    settings: Settings,
) -> None:
    """Both handlers are run, and look at the state of the world: nothing is cancelled."""
    settings = with_delays(settings, 0.1, 0.1)
    async with bootstrap(settings) as application:
        code = await allocated_coupon(application)
        await application.bus.handle(a_redemption(code))
        async with a_worker(application):
            await eventually(lambda: all_done(application))

        assert await left(application) == ("redeemed", 1)
    assert await about_coupons(settings) == SUBJECTS[:1]


async def test_what_is_scheduled_keeps_its_time_when_a_later_release_has_another(
    settings: Settings,
) -> None:
    """The time is in the row; the delay of the next release is for what is committed then."""
    years = 3_000 * DAY
    async with bootstrap(with_delays(settings, DAY, years)) as application:
        await allocated_coupon(application)
        before = await scheduled(application)
    assert before == {REMINDER: pytest.approx(DAY, abs=60), EXPIRY: pytest.approx(years, abs=60)}

    async with bootstrap(with_delays(settings, 0.1, 0.2)) as application:
        await Worker(application, Shutdown(), concurrency=5).run(until_idle=True)

        assert await scheduled(application) == before
        assert await left(application) == ("allocated", 1)
