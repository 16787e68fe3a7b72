"""What a person decides about deliveries. A process that works on them notices."""

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.operations.exceptions import DeliveryNotFound
from allocation.adapters.orm import FINISHED, PARKED, deliveries
from allocation.adapters.outbox import NEXT_TOKEN, delivery_key
from allocation.service_layer.envelopes import EventId

DISCARDED = "discarded by hand"


async def retry(database: Database, event_id: EventId, handler: str) -> None:
    """Make a delivery due at once, with all its attempts before it; an owner loses it.

    :raises DeliveryNotFound: if it is not owed
    """
    await _change_one(database, _make_due(database), event_id, handler)


async def retry_all_parked(database: Database) -> int:
    """Do the same for every parked delivery; return how many there were."""
    return await _change_many(database, _make_due(database).where(PARKED))


async def discard(database: Database, event_id: EventId, handler: str) -> None:
    """Let a delivery count as done, although nobody has done it; an owner loses it.

    :raises DeliveryNotFound: if it is not owed
    """
    now = {"finished_at": database.clock, "due_at": None, "parked_at": None}
    discarded = sa.update(deliveries).values(token=NEXT_TOKEN, process=None, **now)
    await _change_one(database, discarded.values(last_error=DISCARDED), event_id, handler)


def _make_due(database: Database) -> sa.Update:
    now = {"due_at": database.clock, "parked_at": None, "process": None}
    return sa.update(deliveries).values(attempts=0, token=NEXT_TOKEN, **now)


async def _change_one(
    database: Database, statement: sa.Update, event_id: EventId, handler: str
) -> None:
    async with database.writing() as session:
        if not await session.write(statement.where(delivery_key == (event_id, handler), ~FINISHED)):
            raise DeliveryNotFound(event_id, handler)
        await session.commit()


async def _change_many(database: Database, statement: sa.Update) -> int:
    async with database.writing(takes_time=True) as session:
        count = await session.write(statement)
        await session.commit()
    return count
