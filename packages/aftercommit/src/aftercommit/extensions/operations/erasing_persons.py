"""Erases a person for good, for a command of an application: it says where there is something.

What happened, and when, stays: rows keep their ids and times, so nothing that refers to them
breaks. Repeating it does no harm.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

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
from aftercommit.sql.database import Database
from aftercommit.sql.transaction import Transaction


class Traces(NamedTuple):
    """What is stored of a person: the events about this one, and texts by which one may be known.

    Of these texts, such as addresses, `own` has those that nobody else has now, as they compare.
    """

    events: Sequence[StoredEvent]
    texts: Collection[str]
    own: Collection[str]

    @property
    def event_ids(self) -> Collection[str]:
        """The ids of the events."""
        return {str(each.id) for each in self.events}


class Person(Protocol):
    """What an application says of a person."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """What the events about the person say from now on, by the name of the field."""

    async def find(self, transaction: Transaction, *, lock: bool = False) -> Traces:
        """Return what is stored; `lock` first what handlers lock first, before deliveries.

        :raises Exception: if there is no such person
        """

    async def overwrite(self, transaction: Transaction) -> None:
        """Overwrite what the tables of the application say, and what else is not in `find`."""


async def look_for(database: Database, person: Person) -> tuple[Traces, int]:
    """Return what there is to erase, and how many deliveries are outstanding; it reads all events.

    :raises Exception: if there is no such person
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
    """Erase a person, in one transaction, and what else there is by `remove`, such as files.

    Outstanding deliveries to handlers that would have an external effect are discarded, for this
    reason; the others are done as always. Return how much was removed, and discarded.

    :raises Exception: if there is no such person
    """
    database, effects = application.database, handlers_with_effects(application)
    # before and after: more may come until it is erased, and then, by no text is it known any more
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
