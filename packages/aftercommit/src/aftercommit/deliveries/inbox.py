"""The executed commands, by which a message that arrives again is recognized."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from aftercommit.claims import CommandWork
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.tables import commands, events
from aftercommit.envelopes import EventId
from aftercommit.errors import MessageAlreadyHandled


@dataclass(frozen=True, slots=True)
class AcceptedCommand:
    """A command that was executed before: its content, and the trace that it began."""

    fingerprint: str | None
    correlation_id: UUID


_record = cache(lambda now: sa.insert(commands).values(accepted_at=now))  # once for all


async def record_command(
    transaction: Transaction, now: sa.ColumnElement[float], work: CommandWork
) -> None:
    """Store a command, in the caller's transaction.

    A command with an id is stored before anything else: of two copies at once, the second waits for
    the first, and is recognized before it could be refused.

    :raises MessageAlreadyHandled: if it is known; the caller must roll back
    """
    try:
        await transaction.execute(_record(now), [row_of_command(work)])
    except IntegrityError as error:  # its own id is new, so it serves as the message's
        raise MessageAlreadyHandled(work.origin.source, work.origin.id) from error


def row_of_command(work: CommandWork) -> dict[str, Any]:
    """Return what is stored about a command, besides the time."""
    return {
        "id": work.id,
        "type": work.type,
        "source": work.origin.source,
        "message_id": work.origin.id,
        "fingerprint": work.origin.fingerprint,
        "correlation_id": work.context.correlation_id,
        "causation_id": work.completes and work.completes.envelope.id,
    }


async def accepted_command(
    database: Database, source: str, message_id: str | None
) -> AcceptedCommand | None:
    """Return the command that was accepted under this id, if there is one."""
    this = commands.c.source == source, commands.c.message_id == message_id
    statement = sa.select(commands.c.fingerprint, commands.c.correlation_id).where(*this)
    async with database.read_transaction() as transaction:
        row = (await transaction.execute(statement)).one_or_none()
    return row and AcceptedCommand(row.fingerprint, row.correlation_id)


async def events_of_command(
    database: Database, source: str, message_id: str | None
) -> Sequence[EventId]:
    """Return the events caused by the command that was accepted under this id."""
    this = commands.c.source == source, commands.c.message_id == message_id
    of_handler = sa.and_(  # through the index of traces
        events.c.correlation_id == commands.c.correlation_id,
        events.c.causation_id == commands.c.id,
    )
    found = sa.select(events.c.id).join_from(commands, events, of_handler).where(*this)
    async with database.read_transaction() as transaction:
        rows = await transaction.execute(found.order_by(events.c.recorded_at, events.c.id))
    return [EventId(each) for each in rows.scalars()]
