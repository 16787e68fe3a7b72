"""Erases a person: the name and all addresses of a user, wherever this program stores them.

Rows stay, with their ids and times, so nothing that refers to them breaks. The address becomes one
that nothing is sent to, so what happens later to this user has no effect outside either.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize
from uuid import UUID, uuid4

import msgspec
import sqlalchemy as sa

from allocation.adapters.claim_statements import NEXT_TOKEN
from allocation.adapters.database import Database
from allocation.adapters.delivery_states import pause_of
from allocation.adapters.orm import registration_log, user_view, users
from allocation.adapters.tables import FINISHED, PENDING, commands, deliveries, events, failures
from allocation.adapters.transaction import Transaction
from allocation.domain.error_kinds import InvalidValue
from allocation.domain.events import UserId
from allocation.domain.users import UserNotFound
from allocation.domain.values import EmailAddress, PersonName
from allocation.extensions.operations.delivery_admin import discarded_now
from allocation.service_layer.codec import decode
from allocation.service_layer.exceptions import InvalidPayload
from allocation.service_layer.handler_binding import BoundHandler

ERASED, NOT_DONE = "erased", "the user was erased"
NAMES = frozenset({"name"})
ADDRESSES = frozenset({"email", "old_email", "new_email"})
"""The fields, in events of any version, with the name or an address of the user they are about."""


@dataclass(frozen=True, slots=True)
class Person:
    """What is stored about a user: addresses that nobody else has now, and events."""

    addresses: Collection[str]  # as they compare
    event_ids: Collection[str]
    outstanding: int  # deliveries of these events


Events = Mapping[UUID, Mapping[str, Any]]
"""What some events say, by their ids; nothing, if nobody can read its data."""


def handlers_with_effects(
    handlers: Iterable[str], available: Mapping[str, BoundHandler]
) -> Collection[str]:
    """Return the handlers that have an effect through a port, also one that is not `available`.

    Not those that publish: other services wait for what they do.
    """
    return [name for name in handlers if name not in available or available[name].ports]


async def find_person(database: Database, user_id: UserId) -> Person:
    """Return what there is to erase; this reads all events.

    :raises UserNotFound: if there is no such user
    """
    count = sa.select(sa.func.count()).select_from(deliveries)
    async with database.read_transaction() as transaction:
        address = await _address(transaction, sa.select(_EMAIL), user_id)
        about = await _events_about(transaction, user_id)
        outstanding = await transaction.execute(count.where(_of(about), ~FINISHED))
        had = set(map(comparable, await _addresses(transaction, user_id, about, address)))
        taken = sa.select(users.c.email_key).where(users.c.email_key.in_(had))
        others = await transaction.execute(taken.where(users.c.id != user_id))
        had.difference_update(others.scalars())
        return Person(had, {*map(str, about)}, outstanding.scalar_one())


async def erase(database: Database, user_id: UserId, effects: Collection[str]) -> int:
    """Erase a user, in one transaction; return how many deliveries were discarded.

    Outstanding deliveries to these handlers, which would have an effect outside, are discarded. The
    others are done as always. What runs is taken from its process, which knows the name still, and
    begins again. Repeating it does no harm.

    :raises UserNotFound: if there is no such user
    """
    async with database.write_transaction(no_timeout=True) as transaction:
        # locked in the order in which handlers lock: first the user, then deliveries
        address = await _address(transaction, sa.select(_EMAIL).with_for_update(), user_id)
        about = await _events_about(transaction, user_id)
        outstanding = _of(about), ~FINISHED, deliveries.c.handler.in_(effects)
        ended = discarded_now(database).values(last_error=NOT_DONE).where(*outstanding)
        discarded = await transaction.execute_dml(ended)
        addresses = await _addresses(transaction, user_id, about, address)
        running = _of(about), PENDING, deliveries.c.owner.is_not(None)
        await transaction.execute_dml(_taken_back(database).where(*running))
        await _erase_user(transaction, user_id)
        await _erase_events(transaction, about, email=str(_erased_email(user_id)))
        await _erase_commands(transaction, about, addresses)
        transaction.notify_workers()
        await transaction.commit()
    return discarded


def comparable(address: str) -> str:
    """Return the form in which addresses compare, also of what is none."""
    try:
        return EmailAddress(address).key
    except InvalidValue:
        return address


_EMAIL = sa.type_coerce(users.c.email, sa.String)


async def _address(transaction: Transaction, email: sa.Select[str], user_id: UserId) -> str:
    row = (await transaction.execute(email.where(users.c.id == user_id))).one_or_none()
    if row is None:
        raise UserNotFound(user_id)
    return str(row[0])


async def _events_about(transaction: Transaction, user_id: UserId) -> Events:
    """Return the events of the user, and those of others about the user, such as of a batch."""
    row, this = events.c, str(user_id)
    found = sa.select(row.id, row.subject, row.type, row.data)
    found = found.where(sa.or_(row.subject == this, row.data.contains(this)))
    read = [(each, _fields(each)) for each in await transaction.execute(found)]
    return {each.id: data for each, data in read if this in (each.subject, data.get("user_id"))}


def _of(about: Events) -> sa.ColumnElement[bool]:
    return deliveries.c.event_id.in_(about)


def _taken_back(database: Database) -> sa.Update:
    fresh = {"attempts": deliveries.c.attempts - 1, "token": NEXT_TOKEN, "owner": None}
    due = database.clock + pause_of(deliveries.c.handler)
    return sa.update(deliveries).values(available_at=due, **fresh)


def _erased_email(user_id: UserId) -> EmailAddress:
    """Return an address to which nothing can be sent (RFC 2606)."""
    return EmailAddress(f"{user_id}@{ERASED}.invalid")


async def _erase_user(transaction: Transaction, user_id: UserId) -> None:
    """Erase what is stored under the id of the user; nothing is sent to the new address."""
    name, email = PersonName(ERASED), _erased_email(user_id)
    key = f"{ERASED} {user_id}"  # no address has this key: else a stranger could have registered it
    shown = {"name": str(name), "email": str(email), "email_undeliverable": True}
    own = {"name": name, "email": email, "email_key": key, "email_undeliverable": True}
    user = sa.update(users).where(users.c.id == user_id)
    view = sa.update(user_view).where(user_view.c.user_id == user_id)
    log = sa.update(registration_log).where(registration_log.c.user_id == user_id)
    await transaction.execute_dml(user.values(version=users.c.version + 1, **own))
    await transaction.execute_dml(view.values(**shown))
    await transaction.execute_dml(log.values(email=str(email)))


async def _erase_events(transaction: Transaction, about: Events, *, email: str) -> None:
    """Erase what the events say, and the errors of their handlers: they may quote it."""
    failed = sa.update(failures).where(failures.c.event_id.in_(about))
    last = sa.update(deliveries).where(_of(about), deliveries.c.last_error != NOT_DONE)
    await transaction.execute_dml(failed.values(error=ERASED))
    await transaction.execute_dml(last.values(last_error=ERASED))
    texts = dict.fromkeys(NAMES, ERASED) | dict.fromkeys(ADDRESSES, email)
    for event_id, said in about.items():
        data = {name: texts.get(name, value) for name, value in said.items()}
        if data != said:  # so that the page reads it again
            its = sa.update(deliveries).where(deliveries.c.event_id == event_id)
            await transaction.execute_dml(its.values(token=NEXT_TOKEN))
        this = sa.update(events).where(events.c.id == event_id)
        await transaction.execute_dml(this.values(data=msgspec.json.encode(data).decode()))


def _fields(row: sa.Row[Any]) -> dict[str, Any]:
    """Return the data of an event; nothing, if nobody can read them, and so nothing is kept."""
    try:
        return decode(row.type, row.data, dict)
    except InvalidPayload:
        return {}


async def _addresses(
    transaction: Transaction, user_id: UserId, about: Events, present: str
) -> Collection[str]:
    """Return the address of the user, and all that are known from before."""
    logged = sa.select(registration_log.c.email).where(registration_log.c.user_id == user_id)
    found = {present, *(await transaction.execute(logged)).scalars()}
    fields = (field for said in about.values() for field in said.items())
    return found | {str(text) for name, text in fields if name in ADDRESSES}


async def _erase_commands(
    transaction: Transaction, about: Events, addresses: Collection[str]
) -> None:
    """Erase the sums over what commands have said, and ids of messages with an address in them.

    The new ids cannot be guessed: nobody has sent one of them before.
    """
    causes = sa.select(events.c.causation_id).where(events.c.id.in_(about))
    these = sa.update(commands).where(commands.c.id.in_(causes))
    await transaction.execute_dml(these.values(fingerprint=None))
    quoted = re.compile("|".join(map(_quoted, addresses)), re.IGNORECASE)
    for column in (commands.c.source, commands.c.message_id):
        may_be = sa.or_(*(_may_have(column, address) for address in addresses))
        wanted: sa.Select[Any] = sa.select(commands.c.id, column.label("text")).where(may_be)
        found = (await transaction.execute(wanted)).all()
        for command_id in [row.id for row in found if quoted.search(normalize("NFC", row.text))]:
            this = sa.update(commands).where(commands.c.id == command_id)
            await transaction.execute_dml(this.values({column: f"{ERASED}-{uuid4()}"}))


def _may_have(column: sa.Column[Any], address: str) -> sa.ColumnElement[bool]:
    if address.isascii():
        return column.icontains(address, autoescape=True)
    return column.contains("@")  # SQLite ignores the case of ASCII only


def _quoted(address: str) -> str:
    """Return the pattern of an address that is not a part of a longer one."""
    return rf"(?<![\w.+-]){re.escape(address)}(?![\w-]|\.\w)"
