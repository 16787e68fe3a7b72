"""Erases personal data for good, for a command of an application, which says where they are.

What happened, and when, remains: rows keep their ids and times, so nothing that refers to them
breaks. It can be repeated without harm.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.erasing_events import (
    StoredEvent,
    count_outstanding,
    end_deliveries,
    handlers_with_effects,
    redact_events,
    redact_mentions,
)
from aftercommit.process.application import Application


class Traces(NamedTuple):
    """What is stored about somebody: events, and texts by which they may be recognized.

    Of these texts, such as addresses, `own` has those that nobody else uses now, as they compare.
    """

    events: Sequence[StoredEvent]
    texts: Collection[str]
    own: Collection[str]

    @property
    def event_ids(self) -> Collection[str]:
        """The ids of the events."""
        return {str(each.id) for each in self.events}


class Person(Protocol):
    """What an application knows about the person whose data are erased."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The new values of fields in the events about this person.

        The key is `order_placed.phone` for a field of one event, or `phone` for that of all.
        """

    async def find(self, transaction: Transaction, *, lock: bool = False) -> Traces:
        """Return what is stored. With `lock`, first lock what handlers lock before deliveries.

        :raises Exception: if there is nobody to find
        """

    @property
    def rows(self) -> Mapping[sa.Column[Any], Any]:
        """Which of the application's own rows are about this person: columns, with their values."""

    async def overwrite(self, transaction: Transaction) -> None:
        """Overwrite the application's own tables, and whatever else `find` does not return."""


async def look_for(database: Database, person: Person) -> tuple[Traces, int]:
    """Return what there is to erase, and how many deliveries are outstanding; reads all events.

    :raises Exception: if there is nobody to find
    """
    async with database.read_transaction() as transaction:
        traces = await person.find(transaction)
        return traces, await count_outstanding(transaction, traces.events)


async def erase(
    application: Application,
    person: Person,
    *,
    reason: str,
    decision: Decision,
    remove: Callable[[Traces], Awaitable[int]],
) -> tuple[int, int]:
    """Erase somebody's data in one transaction, and then other things with `remove`, such as files.

    Outstanding deliveries to handlers with external effects are discarded, for this reason; the
    others will be done as usual. Return how much was removed, and how much was discarded.

    :raises Exception: if there is nobody to find
    """
    database, effects = application.database, handlers_with_effects(application)
    # before and after: more may arrive before the erasing, and later no text identifies it
    traces, _ = await look_for(database, person)
    removed = await remove(traces)
    async with database.write_transaction(no_timeout=True) as transaction:
        traces = await person.find(transaction, lock=True)
        discarded = await end_deliveries(
            transaction, database, traces.events, discard=effects, reason=reason, decision=decision
        )
        await person.overwrite(transaction)
        await redact_events(transaction, traces.events, person.fields, reason=reason)
        await redact_mentions(transaction, traces.texts)
        await transaction.commit()
    return removed + await remove(traces), discarded
