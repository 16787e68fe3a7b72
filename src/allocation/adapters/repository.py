"""The repositories and the other tables of one unit of work, on a database session."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    bindparam,
    delete,
    exists,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from allocation.adapters import orm
from allocation.adapters.database import Database, Session
from allocation.adapters.wire import wire_name
from allocation.domain.events import UserId
from allocation.domain.exceptions import UserNotFound
from allocation.domain.model import CouponBatch, User
from allocation.domain.values import BatchReference
from allocation.service_layer.envelopes import CommandEnvelope
from allocation.service_layer.exceptions import ChangedWhileReading, MessageAlreadyHandled


class SqlAlchemyStoredUsers:
    """The users, to look at; `seen` lists those loaded."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.seen: list[User] = []

    async def find(self, user_id: UserId) -> User | None:
        user = await self._session.get(User, user_id)
        self.seen += [user] if user else []
        return user

    async def get(self, user_id: UserId) -> User:
        if user := await self.find(user_id):
            return user
        raise UserNotFound(user_id)


class SqlAlchemyUsers(SqlAlchemyStoredUsers):
    """The users; `seen` lists those added, too."""

    def add(self, user: User) -> None:
        self._session.add(user)
        self.seen.append(user)


class SqlAlchemyCouponBatches:
    """The coupon batches; `seen` lists those added or loaded."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.seen: list[CouponBatch] = []

    def add(self, batch: CouponBatch) -> None:
        self._session.add(batch)
        self.seen.append(batch)

    async def find(self, reference: BatchReference) -> CouponBatch | None:
        batch = await self._session.get(CouponBatch, reference)
        self.seen += [batch] if batch else []
        return batch

    async def next_available(self) -> CouponBatch:
        if self.seen:  # what this unit of work has allocated counts, too
            await self._session.flush()
        load = self._session.load
        batch = await load(_first_available())
        while batch is None and (await self._session.execute(_IS_ANY_AVAILABLE)).scalar_one():
            batch = await load(_first_available())  # somebody took the last one while we waited
        self.seen.append(batch or await load(_first_unreported()) or CouponBatch.exhausted())
        return self.seen[-1]


_IS_ANY_AVAILABLE = select(exists().where(orm.coupon_batches.c.remaining > 0))


@cache
def _first_available() -> Select[CouponBatch]:
    available = select(CouponBatch).where(orm.coupon_batches.c.remaining > 0)
    return _locked(available.order_by(orm.coupon_batches.c.reference))


@cache
def _first_unreported() -> Select[CouponBatch]:
    told = orm.coupon_batches.c.reported_on
    return _locked(select(CouponBatch).order_by(told.is_not(None), told.desc()))


def _locked(batches: Select[CouponBatch]) -> Select[CouponBatch]:
    """The first row as it is under the lock, whatever the session has seen of it before."""
    return batches.limit(1).with_for_update().execution_options(populate_existing=True)


class SqlAlchemyRegistrationLog:
    """The registration log, a table."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def append(self, user_id: UserId, email: str) -> None:
        await self._session.execute(_LOG, {"user_id": user_id, "email": email})


_LOG = insert(orm.registration_log)


class SqlAlchemyUserView:
    """The read model, a table that `views.py` reads: what is called as in `users` is copied."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stale: list[UserId] = []

    async def refresh(self, user_id: UserId) -> None:
        self._stale.append(user_id)

    async def write(self) -> None:
        """Do it, when all else is written: for many users with as many statements as for one."""
        for statement in (_LOCK, _FORGET, _COPY) if self._stale else ():
            await self._session.execute(statement, {"these": self._stale})


_THESE: BindParameter[Sequence[UserId]] = bindparam("these", expanding=True)
_COPIED = [column for column in orm.users.c if column.name in orm.user_view.c]
_USERS = select(orm.users.c.id, orm.coupons.c.code, *_COPIED).where(orm.users.c.id.in_(_THESE))

# the locks make refreshes of one user wait for each other, so the last one sees it all; their order
# keeps two refreshes of several users from waiting for each other for ever
_LOCK = _USERS.with_only_columns(orm.users.c.id).order_by(orm.users.c.id).with_for_update()
_FORGET = delete(orm.user_view).where(orm.user_view.c.user_id.in_(_THESE))
_COPY = insert(orm.user_view).from_select(
    ["user_id", "coupon", *(column.name for column in _COPIED)],
    _USERS.outerjoin_from(orm.users, orm.coupons),
)


_noted = cache(lambda now: insert(orm.commands).values(accepted_at=now))  # once for all


async def take_note(session: Session, now: ColumnElement[float], envelope: CommandEnvelope) -> None:
    """Write a command down, in the caller's transaction, before anything else.

    So of two copies at once the second waits for the first, and is recognized before its command
    could be refused.

    :raises MessageAlreadyHandled: if it is known: the caller must roll back
    """
    source, message_id = envelope.received.source, envelope.received.id
    row = {
        "id": envelope.id,
        "type": wire_name(type(envelope.command)),
        "source": source,
        "message_id": message_id,
        "fingerprint": envelope.received.fingerprint,
        "correlation_id": envelope.as_context.correlation_id,
    }
    try:
        await session.execute_by_commit(_noted(now), [row])
    except IntegrityError as error:  # its own id is new, so it is that of the message
        raise MessageAlreadyHandled(source, message_id) from error


@dataclass(frozen=True, slots=True)
class SqlAlchemyStored:
    """What is stored, in a reading transaction."""

    users: SqlAlchemyStoredUsers


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[SqlAlchemyStored]:
    """Look things up. See `ports.Reading`."""
    async with database.reading() as session:
        yield SqlAlchemyStored(SqlAlchemyStoredUsers(session))
        if session.has_unwritten_work():
            raise ChangedWhileReading
