"""Replaces personal data in events and around them, for an application that erases them.

The application says in which events, which of their fields are personal, and with what to replace
them. The rows keep their ids and times, so nothing that refers to them breaks.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

import msgspec
import sqlalchemy as sa

from aftercommit.codec import decode
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.lanes import after_end
from aftercommit.deliveries.states import discarded, event_redacted, redacted, revoked
from aftercommit.deliveries.tables import (
    FINISHED,
    commands,
    decisions,
    deliveries,
    events,
    failures,
    handler_pauses,
)
from aftercommit.envelopes import EventId
from aftercommit.errors import InvalidPayload
from aftercommit.extensions.operations.decisions import Decision, revoke_claims
from aftercommit.process.application import Application

ERASED = "erased"
IDS = commands.c.source, commands.c.message_id
OF_DECISIONS = decisions.c.reason, decisions.c.decided_by, handler_pauses.c.paused_by


class StoredEvent(NamedTuple):
    """The subject, fields and type of an event; no fields, if its data cannot be read."""

    id: EventId
    subject: str
    fields: Mapping[str, Any]
    type: str = ""

    @property
    def named_fields(self) -> Mapping[str, Any]:
        """The fields by names that only this type has, such as `order_placed.phone`."""
        return {f"{self.type}.{name}": value for name, value in self.fields.items()}


def handlers_with_effects(application: Application) -> Collection[str]:
    """Return the handlers with effects through a port, including those that cannot run here.

    Publishers are not among them: other services wait for their messages.
    """
    available = application.bus.registry.events
    return [name for name in application.handlers if name not in available or available[name].ports]


async def events_with(transaction: Transaction, text: str) -> Sequence[StoredEvent]:
    """Return the events with this subject, or with this text in their data; it reads all events."""
    row = events.c
    found = sa.select(row.id, row.subject, row.type, row.data)
    found = found.where(sa.or_(row.subject == text, row.data.contains(text)))
    rows = await transaction.execute(found)
    return [StoredEvent(each.id, each.subject, _fields(each), each.type) for each in rows]


def _fields(row: sa.Row[Any]) -> Mapping[str, Any]:
    try:
        return decode(row.type, row.data, dict)
    except InvalidPayload:
        return {}


async def count_outstanding(transaction: Transaction, of: Iterable[StoredEvent]) -> int:
    """Return how many deliveries of these events are outstanding."""
    count = sa.select(sa.func.count()).select_from(deliveries).where(_of(of), ~FINISHED)
    return int((await transaction.execute(count)).scalar_one())


async def end_deliveries(
    transaction: Transaction,
    database: Database,
    of: Sequence[StoredEvent],
    *,
    discard: Collection[str],
    reason: str,
    decision: Decision,
) -> int:
    """Discard outstanding deliveries to these handlers, and return how many there were.

    The other running deliveries are taken from their processes, which still know the old data, and
    begin again. The decision to erase is stored with each event.
    """
    these = sa.select(events.c.id).where(events.c.id.in_([event.id for event in of]))
    in_order = these.order_by(events.c.recorded_at, events.c.id)
    # retention locks them, and some may be gone; a replay would add deliveries
    locked = (await transaction.execute(in_order.with_for_update(key_share=True))).scalars().all()
    places = await revoke_claims(transaction, database, _of(of))
    await decision.store(transaction, database, "erase", [(each, None) for each in locked])
    end = discarded(database.clock, last_error=reason)
    count = await transaction.execute_dml(end.update(_of(of), deliveries.c.handler.in_(discard)))
    left = [place for place in places if place.ended_handler in discard]
    await after_end(transaction, database, left)
    await transaction.execute_dml(revoked(database.clock).update(_of(of)))
    transaction.notify_workers()
    return count


def _of(some: Iterable[StoredEvent]) -> sa.ColumnElement[bool]:
    return deliveries.c.event_id.in_([event.id for event in some])


async def redact_events(
    transaction: Transaction, some: Sequence[StoredEvent], texts: Mapping[str, Any], *, reason: str
) -> None:
    """Replace fields of events by these values, and everything that may quote their old values.

    `texts` has a value for each field: for `order_placed.phone`, that of the events of one type,
    or for `phone`, that of all events.

    Quotes may be in the errors of handlers, except `reason`, and in the fingerprints of commands:
    of those that caused the events, and of all without events, as nobody can tell what these were
    about.
    """
    ids = [event.id for event in some]
    failed = sa.update(failures).where(failures.c.event_id.in_(ids), failures.c.outcome == "failed")
    await transaction.execute_dml(failed.values(error=ERASED))
    await transaction.execute_dml(redacted(ERASED, kept=reason).update(_of(some)))
    for event in some:
        await _redact(transaction, event, texts)
    causes = sa.select(events.c.causation_id).where(events.c.id.in_(ids))
    caused = sa.exists().where(  # through the index of traces
        events.c.correlation_id == commands.c.correlation_id,
        events.c.causation_id == commands.c.id,
    )
    these = sa.update(commands).where(commands.c.fingerprint.is_not(None))
    these = these.where(sa.or_(commands.c.id.in_(causes), ~caused))
    await transaction.execute_dml(these.values(fingerprint=None))


async def _redact(transaction: Transaction, event: StoredEvent, texts: Mapping[str, Any]) -> None:
    data = {
        name: texts.get(f"{event.type}.{name}", texts.get(name, value))
        for name, value in event.fields.items()
    }
    if data != event.fields:  # so that the page reads them again
        await transaction.execute_dml(event_redacted().update(deliveries.c.event_id == event.id))
    this = sa.update(events).where(events.c.id == event.id)
    await transaction.execute_dml(this.values(data=msgspec.json.encode(data).decode()))


async def redact_mentions(transaction: Transaction, texts: Collection[str]) -> None:
    """Replace quotes of a text, as a word: in sources and ids of messages, and in decisions.

    A quote may have another case or normal form, or be percent-encoded as in a URL, once. In a
    decision, these are its reason and who decided, even if the handler is still paused.

    The new ids cannot be guessed, so that no message that was sent has one of them. An empty text
    is in everything, and is passed over.
    """
    for column, row_id, _ in await find_mentions(transaction, texts):
        [key] = column.table.primary_key
        new = f"{ERASED}-{transaction.new_id()}" if column in IDS else ERASED
        this = sa.update(column.table).where(key == row_id)
        await transaction.execute_dml(this.values({column: new}))


async def find_mentions(
    transaction: Transaction, texts: Collection[str]
) -> Sequence[tuple[sa.Column[Any], Any, str]]:
    """Return what `redact_mentions` replaces: column, id of the row, and the whole text."""
    found = list[tuple[sa.Column[Any], Any, str]]()
    if not (texts := [*filter(None, texts)]):
        return found
    quoted = re.compile("|".join(map(_quoted, texts)), re.IGNORECASE)
    for column in (*IDS, *OF_DECISIONS):
        encoded = column.contains("%", autoescape=True)
        may_be = sa.or_(encoded, *(_may_have(column, text) for text in texts))
        [key] = column.table.primary_key
        wanted: sa.Select[Any] = sa.select(key, column.label("text")).where(may_be)
        rows = (await transaction.execute(wanted)).all()
        found += [(column, row[0], row.text) for row in rows if _mentions(row.text, quoted)]
    return found


def _may_have(column: sa.Column[Any], text: str) -> sa.ColumnElement[bool]:
    if text.isascii():
        return column.icontains(text, autoescape=True)
    sign = next((c for c in text if c.isascii() and not c.isalnum()), "")
    return column.contains(sign, autoescape=True)  # SQLite ignores case for ASCII only


def _mentions(text: str, quoted: re.Pattern[str]) -> bool:
    return any(quoted.search(normalize("NFC", each)) for each in (text, unquote(text)))


def _quoted(text: str) -> str:
    """Return the pattern of a text, such as an address, that is not part of a longer one."""
    return rf"(?<![\w.+-]){re.escape(text)}(?![\w-]|\.\w)"
