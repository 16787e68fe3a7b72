"""The inbox: which messages from outside have been handled. The counterpart of the outbox.

The row is written first in the transaction of the command, so that of two copies that arrive at
once the second waits for the first, and is recognized before the command could be refused.
"""

from sqlalchemy import ColumnElement, insert
from sqlalchemy.exc import IntegrityError

from allocation.adapters.database import Session
from allocation.adapters.orm import inbox
from allocation.service_layer.exceptions import MessageAlreadyHandled
from allocation.service_layer.ports import ReceivedMessage


async def remember(session: Session, now: ColumnElement[float], message: ReceivedMessage) -> None:
    """Remember the message, in the caller's transaction.

    :raises MessageAlreadyHandled: if it is known: the caller must roll back
    """
    row = insert(inbox).values(source=message.source, message_id=message.id, received_at=now)
    try:  # its key is the table's only constraint
        await session.execute(row)
    except IntegrityError as error:
        raise MessageAlreadyHandled(message.source, message.id) from error
