# room: web
"""A retry that was asked for from outside: a command that is recognized when it comes again."""

from dataclasses import dataclass
from uuid import uuid4

from allocation.adapters.database import Database
from allocation.adapters.operations.decisions import make_due
from allocation.adapters.repository import take_note
from allocation.domain.commands import Command
from allocation.service_layer.envelopes import CommandEnvelope, EventId, ReceivedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDelivery(Command):
    """Make a delivery due at once. It goes past the bus: no aggregate decides about deliveries."""

    event_id: EventId
    handler: str


async def retry_once(
    database: Database, event_id: EventId, handler: str, received: ReceivedMessage
) -> None:
    """Do what `decisions.retry` does, and note it as a command, in one transaction.

    :raises MessageAlreadyHandled: if it was noted before
    :raises DeliveryNotFound: if the delivery is not owed
    """
    command = RetryDelivery(event_id=event_id, handler=handler)
    envelope = CommandEnvelope(id=uuid4(), command=command, received=received)
    async with database.writing() as session:
        await take_note(session, database.clock, envelope)
        await make_due(session, database, event_id, handler)
        await session.commit()
