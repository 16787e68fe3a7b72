"""What is stored about a user, anywhere, and how it is erased: see `erase-user`.

The address is replaced by one to which nothing is sent, so that later events about this user have
no external effect either.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import sqlalchemy as sa
from aftercommit import Transaction
from aftercommit.extensions.operations.erasing_events import ERASED, StoredEvent, events_with
from aftercommit.extensions.operations.erasing_persons import Traces

from allocation.adapters.orm import coupons, registration_log, user_view, users
from allocation.domain.bases import InvalidValue
from allocation.domain.events import UserId
from allocation.domain.users import UserNotFound
from allocation.domain.values import EmailAddress, PersonName

NAMES = frozenset({"user_registered.name"})
ADDRESSES = frozenset(
    {
        "user_registered.email",
        "email_changed.old_email",
        "email_changed.new_email",
        "email_bounced.email",
    }
)
"""The fields, in any version of an event, with the name or an address of the event's user.

Never list a field with an address of another user here: `find` would take it for this user's.
"""


def comparable(address: str) -> str:
    """Return an address in the form in which it is compared; any other text stays as it is."""
    try:
        return EmailAddress(address).key
    except InvalidValue:
        return address


class StoredUser:
    """What is stored about a user, anywhere; see `erasing_persons.Person`."""

    def __init__(self, user_id: UserId) -> None:
        self._id, self._name = user_id, PersonName(ERASED)
        self._email = EmailAddress(f"{user_id}@{ERASED}.invalid")  # RFC 2606: nobody gets its mail

    @property
    def fields(self) -> Mapping[str, str]:
        """The new values of the fields in events."""
        return dict.fromkeys(NAMES, ERASED) | dict.fromkeys(ADDRESSES, str(self._email))

    async def find(self, transaction: Transaction, *, lock: bool = False) -> Traces:
        """Return all addresses of the user and all events about the user, also those of a batch.

        :raises UserNotFound: if there is no such user
        """
        email = sa.type_coerce(users.c.email, sa.String)
        present = sa.select(email).where(users.c.id == self._id)
        row = (await transaction.execute(present.with_for_update() if lock else present)).first()
        if row is None:
            raise UserNotFound(self._id)
        this = str(self._id)
        found = await events_with(transaction, this)
        about = [each for each in found if this in (each.subject, each.fields.get("user_id"))]
        addresses = {row[0], *await self._former_addresses(transaction, about)}
        had = set(map(comparable, addresses))
        taken = sa.select(users.c.email_key).where(users.c.email_key.in_(had))
        others = await transaction.execute(taken.where(users.c.id != self._id))
        return Traces(about, addresses, had.difference(others.scalars()))

    async def _former_addresses(
        self, transaction: Transaction, about: Sequence[StoredEvent]
    ) -> Collection[str]:
        logged = sa.select(registration_log.c.email).where(registration_log.c.user_id == self._id)
        fields = (field for event in about for field in event.named_fields.items())
        texts = {str(text) for name, text in fields if name in ADDRESSES}
        return texts.union((await transaction.execute(logged)).scalars())

    @property
    def rows(self) -> Mapping[sa.Column[UUID], UUID]:
        """Which rows are about this user: a column of each table, with its value."""
        others = (each.c.user_id for each in (coupons, user_view, registration_log))
        return dict.fromkeys((users.c.id, *others), self._id)

    async def overwrite(self, transaction: Transaction) -> None:
        """Overwrite name and address in all tables."""
        key = f"{ERASED} {self._id}"  # no address has this key, so nobody could register it
        named = {"name": self._name, "email": self._email, "email_undeliverable": True}
        shown = {"name": ERASED, "email": str(self._email), "email_undeliverable": True}
        user = sa.update(users).where(users.c.id == self._id)
        view = sa.update(user_view).where(user_view.c.user_id == self._id)
        log = sa.update(registration_log).where(registration_log.c.user_id == self._id)
        version = users.c.version + 1
        await transaction.execute_dml(user.values(email_key=key, version=version, **named))
        await transaction.execute_dml(view.values(**shown))
        await transaction.execute_dml(log.values(email=str(self._email)))
