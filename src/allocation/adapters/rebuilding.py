"""Rebuilds the read model of users, while registrations go on: see `rebuild-users`."""

from collections.abc import Sequence

import sqlalchemy as sa
from aftercommit import Database, Transaction
from aftercommit.extensions.operations.batched_transactions import Advance, for_each_batch

from allocation.adapters.orm import user_view, users
from allocation.adapters.repositories import SqlAlchemyUserProjection
from allocation.domain.events import UserId

ALL_USERS, _ROWS = sa.select(users.c.id), sa.select(user_view.c.user_id)


async def rebuild(database: Database, advance: Advance) -> int:
    """Refresh the row of each user, and return how many there are; delete rows without a user.

    A user who registers or changes meanwhile is also refreshed by the handler of that event; one
    of the two waits for the other.
    """
    await for_each_batch(database.write_transaction, _ROWS, _delete_orphans)
    return await for_each_batch(database.write_transaction, ALL_USERS, _refresh, advance)


async def _delete_orphans(transaction: Transaction, ids: Sequence[UserId]) -> int:
    somebody = sa.exists().where(users.c.id == user_view.c.user_id)
    orphans = sa.delete(user_view).where(user_view.c.user_id.in_(ids), ~somebody)
    return await transaction.execute_dml(orphans)


async def _refresh(transaction: Transaction, ids: Sequence[UserId]) -> int:
    await SqlAlchemyUserProjection(transaction).refresh(*ids)
    return len(ids)
