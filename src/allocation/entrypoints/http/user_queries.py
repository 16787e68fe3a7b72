"""The queries of the HTTP API. Users are read from their own tables, not from the view of users.

A client that has just registered a user follows the `Location` at once; the view follows later.
"""

from collections.abc import Sequence
from uuid import UUID

from aftercommit import Database

from allocation.adapters.orm import UserRow, user_rows, users
from allocation.domain.events import UserId
from allocation.domain.users import UserNotFound
from allocation.domain.values import EmailAddress


async def user(database: Database, user_id: UserId) -> UserRow:
    """Return one user.

    :raises UserNotFound: if there is no such user
    """
    async with database.read_transaction() as transaction:
        row = (await transaction.execute(user_rows.where(users.c.id == user_id))).one_or_none()
    if row is None:
        raise UserNotFound(user_id)
    return UserRow(**row._mapping)


async def users_page(
    database: Database, *, email: EmailAddress | None, after: UUID | None, limit: int
) -> Sequence[UserRow]:
    """Return the next users by id, at most `limit`, through an index: all pages are equally fast.

    With an address, return the user who has it, if there is one.
    """
    page = user_rows.order_by(users.c.id).limit(limit)
    page = page if after is None else page.where(users.c.id > after)
    page = page if email is None else page.where(users.c.email_key == email.key)
    async with database.read_transaction() as transaction:
        return [UserRow(**row._mapping) for row in (await transaction.execute(page)).all()]
