"""A worker with a schedule, as a process: python -m …processes.hourly_worker URL."""

import sys
from dataclasses import dataclass
from datetime import datetime

import anyio
from aftercommit import Every, Outbox, on
from sqlalchemy.ext.asyncio import AsyncSession

MODULE = "aftercommit_tests.processes.hourly_worker"


@dataclass(frozen=True)
class HourHasPassed:
    """Another hour is over."""

    at: datetime


async def note(event: HourHasPassed, session: AsyncSession) -> None:
    """Have no effect but that the delivery is done."""


def shop(url: str) -> Outbox:
    """Return the outbox of such a worker."""
    hourly = Every("hourly", "0 * * * *", HourHasPassed)
    return Outbox("shop", url, [on(HourHasPassed, note)], every=[hourly])


async def main() -> None:
    """Work until somebody kills it."""
    async with shop(sys.argv[1]).running():
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
