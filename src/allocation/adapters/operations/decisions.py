"""What a person decides about deliveries. A process that works on them notices."""

import sqlalchemy as sa

from allocation.adapters.database import Database, Session
from allocation.adapters.operations.exceptions import DeliveryNotFound
from allocation.adapters.orm import FINISHED, PARKED, deliveries
from allocation.adapters.outbox import NEXT_TOKEN, delivery_key
from allocation.service_layer.envelopes import EventId

DISCARDED = "discarded by hand"


async def retry(database: Database, event_id: EventId, handler: str) -> None:
    """Make a delivery due at once, with all its attempts before it; an owner loses it.

    :raises DeliveryNotFound: if it is not owed
    """
    async with database.writing() as session:
        await make_due(session, database, event_id, handler)
        await session.commit()


async def make_due(session: Session, database: Database, event_id: EventId, handler: str) -> None:
    """Do so in the caller's transaction."""
    await _change_one(session, _make_due(database), event_id, handler)


async def retry_all_parked(database: Database) -> int:
    """Do the same for every parked delivery; return how many there were."""
    return await _change_many(database, _make_due(database).where(PARKED))


async def discard(database: Database, event_id: EventId, handler: str) -> None:
    """Let a delivery count as done, although nobody has done it; an owner loses it.

    :raises DeliveryNotFound: if it is not owed
    """
    now = {"finished_at": database.clock, "due_at": None, "parked_at": None}
    discarded = sa.update(deliveries).values(token=NEXT_TOKEN, process=None, **now)
    async with database.writing() as session:
        await _change_one(session, discarded.values(last_error=DISCARDED), event_id, handler)
        await session.commit()


def _make_due(database: Database) -> sa.Update:
    now = {"due_at": database.clock, "parked_at": None, "process": None}
    return sa.update(deliveries).values(attempts=0, token=NEXT_TOKEN, **now)


async def _change_one(
    session: Session, statement: sa.Update, event_id: EventId, handler: str
) -> None:
    if not await session.write(statement.where(delivery_key == (event_id, handler), ~FINISHED)):
        raise DeliveryNotFound(event_id, handler)


async def _change_many(database: Database, statement: sa.Update) -> int:
    async with database.writing(takes_time=True) as session:
        count = await session.write(statement)
        await session.commit()
    return count
