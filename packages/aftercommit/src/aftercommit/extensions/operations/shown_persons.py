"""Shows what is stored about somebody: the same as an erasure finds, from the same declarations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from aftercommit.deliveries.tables import commands, deliveries, events, failures
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.erasing_events import find_mentions
from aftercommit.extensions.operations.erasing_persons import Person
from aftercommit.extensions.operations.times import in_utc
from aftercommit.process.application import Application

NOT_SEARCHED = (
    "messages that a broker keeps",
    "what other services have received",
    "messages that were sent, and copies that are kept of them",
    "logs, and traces in other programs",
    "backups",
)


async def show(
    application: Application, person: Person, name: str, decision: Decision
) -> Mapping[str, Any]:
    """Return all that is stored about somebody, to be printed as JSON; it reads all events.

    `not_searched` says where else something may be. That somebody has looked is stored as a
    decision whose reason begins with the `name` of the person: an id, which stays after an erasure.

    :raises Exception: if there is nobody to find
    """
    database = application.database
    async with database.read_transaction() as transaction:
        traces = await person.find(transaction)
        ids = [each.id for each in traces.events]
        queries = _of_application(person) | _about(ids)
        rows = {
            str(table): [_plain(row) for row in (await transaction.execute(found)).mappings()]
            for table, found in queries.items()
        }
        mentions = [
            {"column": str(column), "text": text}
            for column, _, text in await find_mentions(transaction, traces.texts)
        ]
    async with database.write_transaction() as transaction:
        reason = "; ".join(filter(None, (name, decision.reason)))
        await replace(decision, reason=reason).store(transaction, database, "show")
        await transaction.commit()
    return {"tables": rows, "mentions": mentions, "not_searched": NOT_SEARCHED}


def _of_application(person: Person) -> dict[str, sa.Select[Any]]:
    """Return the queries for the application's own rows, by table; texts are as they are stored."""
    queries = dict[str, sa.Select[Any]]()
    for column, value in person.rows.items():
        columns = (
            sa.type_coerce(each, sa.String).label(each.name) if _is_text(each) else each
            for each in column.table.c
        )
        queries[column.table.name] = sa.select(*columns).where(column == value)
    return queries


def _is_text(column: sa.Column[Any]) -> bool:
    kind = column.type.impl if isinstance(column.type, sa.TypeDecorator) else column.type
    return isinstance(kind, sa.String)


def _plain(row: sa.RowMapping) -> Mapping[str, Any]:
    return {str(column): value for column, value in row.items()}


def _about(ids: list[Any]) -> dict[str, sa.Select[Any]]:
    """Return the queries for what the engine stores about these events, by table."""
    event, delivery, failure, command = events.c, deliveries.c, failures.c, commands.c
    causes = sa.select(event.causation_id).where(event.id.in_(ids))
    accepted = sa.select(
        command.id, command.type, command.source, command.message_id, in_utc(command.accepted_at)
    )
    stored = sa.select(event.id, event.type, event.subject, event.time, event.data)
    waiting = sa.select(delivery.event_id, delivery.handler, delivery.last_error)
    failed = sa.select(failure.event_id, failure.handler, failure.attempt, failure.error)
    return {
        commands.name: accepted.where(command.id.in_(causes)),
        events.name: stored.where(event.id.in_(ids)).order_by(event.recorded_at),
        deliveries.name: waiting.where(delivery.event_id.in_(ids)),
        failures.name: failed.where(failure.event_id.in_(ids)).order_by(failure.failed_at),
    }
