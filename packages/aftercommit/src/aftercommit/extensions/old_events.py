"""How much is old, and what to write so that workers prune it.

Any extension may import this: one prunes, and another one measures.
"""

from typing import Any

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.tables import events
from aftercommit.settings import DAY, EngineSettings

OLD_DAYS = 90  # after which few need what is done; only an operator knows who does
MOST_COUNTED = 10_000  # events: more than that is many


def old_events(database: Database, older_than: float) -> sa.Select[Any]:
    """Select the events older than this, in seconds, whether they can be deleted or not."""
    time = events.c.recorded_at
    return sa.select(time, events.c.id).where(time < database.clock - older_than)


async def count_old_events(transaction: Transaction, database: Database) -> int:
    """Return how many events are older than OLD_DAYS, through the index of their times.

    It stops at MOST_COUNTED.
    """
    some = old_events(database, OLD_DAYS * DAY).limit(MOST_COUNTED).subquery()
    counted = sa.select(sa.func.count()).select_from(some)
    return int((await transaction.execute(counted)).scalar_one())


def nothing_prunes(count: int, kind: type[EngineSettings]) -> str:
    """Return in words that so many events are old and stay, and which line would change that."""
    number = "1 event is" if count == 1 else f"{count:,} events are"
    number = number if count < MOST_COUNTED else f"{MOST_COUNTED:,} or more events are"
    line = f"{kind.variable('retention_days')}={OLD_DAYS}"
    return f"{number} older than {OLD_DAYS} days, and nothing deletes old events; {line} does"
