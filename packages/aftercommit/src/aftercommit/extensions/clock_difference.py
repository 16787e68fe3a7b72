"""How far the clock of this machine is from that of the database.

A process stamps the time of an event with its own clock; leases, delays and retries go by that of
the database.
"""

import time

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction

MOST_SECONDS = 5.0  # that are no problem


async def clock_difference(transaction: Transaction, database: Database) -> float:
    """Return by how many seconds the database's clock is ahead of this machine's."""
    before = time.time()
    clock: float = (await transaction.execute(sa.select(database.clock))).scalar_one()
    return clock - (before + time.time()) / 2


def clocks_differ(seconds: float) -> str:
    """Return in words that the clocks differ, and what to do."""
    return (
        f"the clock of the database is {seconds:+.0f} s off this machine's;"
        " synchronize both, for example by NTP"
    )
