"""Erases a person: the name and all addresses of a user, wherever this program stores them.

Rows stay, with their ids and times, so nothing that refers to them breaks. The address becomes one
that nothing is sent to, so what happens later to this user has no effect outside either.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from aftercommit import Database, Transaction
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.erasing_events import (
    ERASED,
    StoredEvent,
    count_outstanding,
    end_deliveries,
    events_with,
    redact_events,
    redact_mentions,
)

from allocation.adapters.orm import registration_log, user_view, users
from allocation.domain.error_kinds import InvalidValue
from allocation.domain.events import UserId
from allocation.domain.users import UserNotFound
from allocation.domain.values import EmailAddress, PersonName

NOT_DONE = "the user was erased"
NAMES = frozenset({"name"})
ADDRESSES = frozenset({"email", "old_email", "new_email"})
"""The fields, in events of any version, with the name or an address of the user they are about."""
REFUSED_ROWS = '"refused":[{'
"""What is in UsersImported if it lists refused rows: nobody can tell whom their reasons quote."""


@dataclass(frozen=True, slots=True)
class Person:
    """What is stored about a user: addresses that nobody else has now, and events."""

    addresses: Collection[str]  # as they compare
    event_ids: Collection[str]
    outstanding: int  # deliveries of these events


async def find_person(database: Database, user_id: UserId) -> Person:
    """Return what there is to erase; this reads all events.

    :raises UserNotFound: if there is no such user
    """
    async with database.read_transaction() as transaction:
        address = await _address(transaction, sa.select(_EMAIL), user_id)
        about = await _events_about(transaction, user_id)
        addresses = await _addresses(transaction, user_id, about, address)
        return await _person(transaction, user_id, about, addresses)


async def erase(
    database: Database, user_id: UserId, effects: Collection[str], decision: Decision
) -> tuple[Person, int]:
    """Erase a user, in one transaction; return who that was, and how many deliveries it discarded.

    Outstanding deliveries to these handlers, which would have an external effect, are discarded.
    The others are done as always. Repeating it does no harm.

    :raises UserNotFound: if there is no such user
    """
    async with database.write_transaction(no_timeout=True) as transaction:
        # locked in the order in which handlers lock: first the user, then deliveries
        address = await _address(transaction, sa.select(_EMAIL).with_for_update(), user_id)
        about = await _events_about(transaction, user_id)
        addresses = await _addresses(transaction, user_id, about, address)
        person = await _person(transaction, user_id, about, addresses)
        discarded = await end_deliveries(
            transaction, database, about, discard=effects, reason=NOT_DONE, decision=decision
        )
        await _erase_user(transaction, user_id)
        email = str(_erased_email(user_id))
        texts = dict.fromkeys(NAMES, ERASED) | dict.fromkeys(ADDRESSES, email)
        await redact_events(transaction, about, texts, reason=NOT_DONE)
        imports = await events_with(transaction, REFUSED_ROWS)
        await redact_events(transaction, imports, {"refused": []}, reason=NOT_DONE)
        await redact_mentions(transaction, addresses)
        await transaction.commit()
    return person, discarded


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


async def _events_about(transaction: Transaction, user_id: UserId) -> Sequence[StoredEvent]:
    """Return the events of the user, and those of others about the user, such as of a batch."""
    this = str(user_id)
    found = await events_with(transaction, this)
    return [event for event in found if this in (event.subject, event.fields.get("user_id"))]


async def _person(
    transaction: Transaction,
    user_id: UserId,
    about: Sequence[StoredEvent],
    addresses: Collection[str],
) -> Person:
    had = set(map(comparable, addresses))
    taken = sa.select(users.c.email_key).where(users.c.email_key.in_(had))
    others = await transaction.execute(taken.where(users.c.id != user_id))
    outstanding = await count_outstanding(transaction, about)
    return Person(had.difference(others.scalars()), {str(each.id) for each in about}, outstanding)


async def _addresses(
    transaction: Transaction, user_id: UserId, about: Sequence[StoredEvent], present: str
) -> Collection[str]:
    """Return the address of the user, and all that are known from before."""
    logged = sa.select(registration_log.c.email).where(registration_log.c.user_id == user_id)
    found = {present, *(await transaction.execute(logged)).scalars()}
    fields = (field for event in about for field in event.fields.items())
    return found | {str(text) for name, text in fields if name in ADDRESSES}


def _erased_email(user_id: UserId) -> EmailAddress:
    """Return an address to which nothing can be sent (RFC 2606)."""
    return EmailAddress(f"{user_id}@{ERASED}.invalid")


async def _erase_user(transaction: Transaction, user_id: UserId) -> None:
    """Erase what is stored under the id of the user; nothing is sent to the new address."""
    name, email = PersonName(ERASED), _erased_email(user_id)
    key = f"{ERASED} {user_id}"  # no address has this key, so nobody could have registered it
    shown = {"name": str(name), "email": str(email), "email_undeliverable": True}
    own = {"name": name, "email": email, "email_key": key, "email_undeliverable": True}
    user = sa.update(users).where(users.c.id == user_id)
    view = sa.update(user_view).where(user_view.c.user_id == user_id)
    log = sa.update(registration_log).where(registration_log.c.user_id == user_id)
    await transaction.execute_dml(user.values(version=users.c.version + 1, **own))
    await transaction.execute_dml(view.values(**shown))
    await transaction.execute_dml(log.values(email=str(email)))
