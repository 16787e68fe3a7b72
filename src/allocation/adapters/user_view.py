"""The read model of users: kept up to date within a unit of work. `views.py` reads it."""

from collections.abc import Sequence

import sqlalchemy as sa
from aftercommit import Transaction

from allocation.adapters import orm
from allocation.domain.events import UserId


class SqlAlchemyUserProjection:
    """The read model, a table that `views.py` reads: see `orm.UserRow`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._stale: list[UserId] = []

    async def refresh(self, user_id: UserId) -> None:
        self._stale.append(user_id)

    async def write(self) -> None:
        """Do it, when all else is written: for many users with as many statements as for one."""
        for statement in (LOCK_USERS, UPDATE_ROWS, INSERT_ROWS) if self._stale else ():
            await self._transaction.execute(statement, {"user_ids": self._stale})


_IDS: sa.BindParameter[Sequence[UserId]] = sa.bindparam("user_ids", expanding=True)
_MADE = orm.user_rows.where(orm.users.c.id.in_(_IDS))
_ROW = _MADE.subquery("made")

# the locks make refreshes of one user wait for each other, so the last one sees it all; their order
# keeps two refreshes of several users from waiting for each other for ever
LOCK_USERS = (
    sa.select(orm.users.c.id).where(orm.users.c.id.in_(_IDS)).order_by(orm.users.c.id)
).with_for_update()
# rows are not deleted and inserted: what a newer version has added to them is not ours to reset
UPDATE_ROWS = (
    sa.update(orm.user_view)
    .where(orm.user_view.c.user_id == _ROW.c.user_id)
    .values({column.name: column for column in _ROW.c if column.name != "user_id"})
)
INSERT_ROWS = sa.insert(orm.user_view).from_select(
    [column.name for column in _ROW.c],
    _MADE.where(orm.users.c.id.not_in(sa.select(orm.user_view.c.user_id))),
)
