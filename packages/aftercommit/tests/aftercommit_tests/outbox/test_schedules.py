"""Schedules of an outbox: its worker stores their events, for both kinds of handlers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio
import pytest
from aftercommit import Every, Outbox, on
from aftercommit.errors import WiringError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import Order, Shop, open_shop, until

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

AN_HOUR = 3600


@dataclass(frozen=True)
class MinuteHasPassed:
    """Another minute is over."""

    at: datetime


async def keep(event: MinuteHasPassed, session: AsyncSession) -> None:
    """Have an effect in the database."""
    session.add(Order(id=event.at.minute))


def keep_in_thread(event: MinuteHasPassed, session: Session) -> None:
    """Have the same, in a thread."""
    session.add(Order(id=100 + event.at.minute))


MINUTELY = Every("minutely", "* * * * *", MinuteHasPassed, tz="Europe/Berlin")


async def rewind(shop: Shop, seconds: float) -> None:
    """Let the schedule have begun, or come last, so long ago."""
    last_at = tables.schedules.c.last_at
    async with shop.session() as session, session.begin():
        await session.execute(tables.schedules.update().values(last_at=last_at - seconds))


async def test_a_running_outbox_stores_what_has_come_and_handles_it(
    empty_url: str, anyio_backend: str
) -> None:
    """The latest minute of an hour in which nobody was up, once, though two workers run."""
    async with open_shop(empty_url, anyio_backend) as shop:
        outboxes = [
            Outbox("shop", empty_url, [on(MinuteHasPassed, keep, keep_in_thread)], every=[MINUTELY])
            for _ in range(2)
        ]

        async def begun() -> bool:
            return len(await shop.rows(tables.schedules.c.name)) == 1

        async with outboxes[0].running():
            await until(begun)
        await rewind(shop, AN_HOUR)

        async def kept() -> bool:
            return len(await shop.rows(Order.id)) >= 2

        async with outboxes[0].running(), outboxes[1].running():
            await until(kept)

        events = await shop.rows(tables.events.c.subject)
        assert {row.subject for row in events} == {"minutely"}
        # a minute may have passed meanwhile, and its event is handled later
        assert 2 <= len(await shop.rows(Order.id)) <= 2 * len(events) <= 4
        if len(events) == 1:
            [state] = await shop.rows(tables.schedules.c.missed)
            assert state.missed >= 58


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "one": (lambda: MINUTELY, "`every` of an outbox has to be a list of schedules, even if"),
    "a text": (lambda: ["* * * * *"], "`every` is a list of Every"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_an_outbox_takes_a_list_of_schedules(mistake: str) -> None:
    """One alone is no list, and a cron expression alone makes no event."""
    every, told = MISTAKES[mistake]
    with pytest.raises(WiringError, match=told):
        Outbox("shop", "sqlite:///shop.db", [], every=every())


async def test_an_event_without_an_entry_is_found_at_start(
    empty_url: str, anyio_backend: str
) -> None:
    """And not when its time has come, at night."""
    outbox = Outbox("shop", empty_url, [], every=[MINUTELY])
    with pytest.raises(WiringError, match=r"add on\(MinuteHasPassed, …\) to the table"):
        async with outbox.running():
            await anyio.sleep_forever()
