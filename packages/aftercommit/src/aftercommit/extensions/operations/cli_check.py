"""Checks whether an application can work with its settings, on the command line."""

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import click
import sqlalchemy as sa

from aftercommit.cli.command_context import Cli
from aftercommit.cli.command_group import LazyCommand
from aftercommit.database.database import Database
from aftercommit.database.database_url import parse_url
from aftercommit.database.exceptions import DatabaseLocked, DatabaseUnavailable
from aftercommit.database.schema import check_schema
from aftercommit.deliveries.tables import CLAIMABLE, PARKED, deliveries
from aftercommit.errors import InvalidValue, Unavailable
from aftercommit.extensions.clock_difference import MOST_SECONDS, clock_difference, clocks_differ
from aftercommit.extensions.old_events import count_old_events, nothing_prunes
from aftercommit.extensions.operations.limit_admin import handler_limits
from aftercommit.extensions.operations.schedule_admin import LATE_SECONDS, in_words
from aftercommit.extensions.operations.settings import OperationsSettings
from aftercommit.extensions.operations.unknown_names import unknown_events, unknown_handlers
from aftercommit.extensions.schedule_states import read_schedules, removed_schedules
from aftercommit.process.running_services import run
from aftercommit.schedules import Every
from aftercommit.settings import EngineSettings

SOME_ATTEMPTS = 3  # that found a resource unavailable: no restart takes so long
LONGEST_REASON = 200  # characters


@click.command()
@click.pass_obj
def check(cli: Cli) -> None:
    """Check database, schema, writes, handlers, clock and connections.

    Each check that succeeds prints a line; the first problem ends it, with the exit code of its
    kind. Handlers and events of stored deliveries that this program does not know have a line each,
    too. Before that, it checks that each command can be imported, and that each variable with the
    prefix of settings is one, without a line.
    """
    settings = cli.load_settings()
    for unknown in cli.app.unknown_settings():
        if cli.app.owns_prefix:
            raise InvalidValue(unknown.variable, unknown.problem)
        click.echo(f"{'unknown':12} {unknown.variable} {unknown.problem}")
    group: Any = click.get_current_context().parent
    for each in group.command.commands.values():
        if isinstance(each, LazyCommand):
            with suppress(InvalidValue):  # the library of an extra is not installed
                each.load()

    async def work() -> None:
        async for subject, found in _found(cli, settings):
            click.echo(f"{subject:12} {found}")

    run(work, event_loop=settings.event_loop)


def _outstanding(clock: sa.ColumnElement[float]) -> sa.Select[int, float, int]:
    """Count due and parked deliveries; many due ones mean that no worker runs."""
    late = clock - deliveries.c.available_at
    due = sa.and_(CLAIMABLE, late >= 0)
    return sa.select(
        sa.func.count().filter(due).label("due"),
        sa.func.max(late).filter(due).label("late"),
        sa.func.count().filter(PARKED).label("parked"),
    ).select_from(deliveries)


def _unavailable() -> sa.Select[Any]:
    """Count, by handler, what is tried again and again because a resource is unavailable."""
    row = deliveries.c
    tried = sa.and_(CLAIMABLE, row.unavailable_attempts >= SOME_ATTEMPTS)
    why = sa.func.max(row.last_error).label("why")
    found = sa.select(row.handler, sa.func.count().label("deliveries"), why).where(tried)
    return found.group_by(row.handler).order_by(row.handler)


async def _require_file(database_url: str) -> None:
    """Refuse a SQLite file that does not exist: connecting would create it."""
    url = parse_url(database_url)
    file = anyio.Path(url.database or "")
    if url.get_backend_name() == "sqlite" and not await file.exists():
        raise DatabaseUnavailable(f"there is no file {await file.absolute()}")


async def _check_writes(database: Database) -> None:
    """Check that the database accepts writes; if another writer is working, it does.

    :raises DatabaseUnavailable: if it does not
    """
    nothing = sa.update(deliveries).values(token=deliveries.c.token).where(sa.false())
    with suppress(DatabaseLocked):
        async with database.write_transaction() as transaction:
            await transaction.execute(nothing)


async def _found(cli: Cli, settings: EngineSettings) -> AsyncIterator[tuple[str, str]]:
    url, impatient = parse_url(settings.database_url), settings
    if url.get_backend_name() == "sqlite":  # the default wait for other writers is too long here
        file = url.set(query={"timeout": "1", **url.query}).render_as_string()
        impatient = replace(settings, database_url=file)
    async with cli.app.open_database(impatient) as database:
        await _require_file(settings.database_url)
        begun = time.monotonic()
        async with database.read_transaction() as transaction:
            await transaction.execute(sa.select(sa.literal(1)))
            took = 1000 * (time.monotonic() - begun)
            over = database.given.driver
            yield "database", f"{settings.database_url} answers in {took:.0f} ms{over}"
            ahead = await clock_difference(transaction, database)
            capacity = await transaction.run_sync(database.backend.capacity)
            shortcomings = await transaction.run_sync(database.backend.shortcomings)
        for shortcoming in shortcomings.items():
            yield shortcoming
        revisions = await check_schema(database)
        yield "schema", f"up to date: {', '.join(revisions)}"
        await _check_writes(database)
        yield "writes", "are accepted"
        async with cli.app.open(settings, delivers=False) as application:  # connects to no broker
            known, of = application.handlers, application.bus.delivery_store.limits
            subscriptions = application.checked_subscriptions()
        yield "handlers", f"{len(known)} of events, bound to what they ask for"
        for each in subscriptions:
            commands = sorted(command.__name__ for command in each.commands())
            yield "subscription", f"{each.source}: {each.origin}; becomes {' or '.join(commands)}"
        if abs(ahead) > MOST_SECONDS:
            raise Unavailable(clocks_differ(ahead))
        yield "clock", f"{ahead:+.1f} s off this machine's"
        async for outstanding in _found_outstanding(database, known, settings):
            yield outstanding
        async with database.read_transaction() as transaction:
            limits = await handler_limits(transaction, database, of)
        for limit in limits:
            yield "limit", f"{limit.name}: {limit.use}; {limit.held} held"
        async for found in _found_schedules(database, application.every):
            yield found
        await database.check_sessions(all_connections=True)
        pool: Any = database.engine.pool
        most = f"at most {pool.size()} for a process{database.given.beside}"
        yield "connections", f"{most}{capacity}"


async def _found_schedules(
    database: Database, every: Sequence[Every[Any]]
) -> AsyncIterator[tuple[str, str]]:
    async with database.read_transaction() as transaction:
        states = await read_schedules(transaction, database, every)
        removed = await removed_schedules(transaction, every)
    for state in states:
        runs = "; does a worker run? serve alone is none" * (state.late_seconds > LATE_SECONDS)
        yield "schedule", f"{state.name}: {in_words(state)}{runs}"
    for row in removed:
        last = datetime.fromtimestamp(row.last_at, UTC)
        renamed = f"renamed? Keep it with Every(…, renamed={row.name!r})"
        yield "unknown", f"schedule {row.name}, last {last:%FT%TZ}; {renamed}, or forget it"


async def _found_outstanding(
    database: Database, known: Collection[str], settings: EngineSettings
) -> AsyncIterator[tuple[str, str]]:
    async with database.read_transaction() as transaction:
        found = (await transaction.execute(_outstanding(database.clock))).mappings().one()
        unread = (await transaction.execute(unknown_events(database.codec))).all()
        unknown = (await transaction.execute(unknown_handlers(known))).all()
        unavailable = (await transaction.execute(_unavailable())).all()
        old = await count_old_events(transaction, database)
    late = f", the oldest for {found['late']:.0f} s" if found["due"] else ""
    yield "deliveries", f"{found['due']} due{late}; {found['parked']} parked"
    if old and settings.of(OperationsSettings).retention_days is None:
        yield "history", nothing_prunes(old, type(settings))
    for row in unavailable:
        why = " ".join(str(row.why).split())[:LONGEST_REASON]
        yield "unavailable", f"{row.handler}: {row.deliveries} tried again and again: {why}"
    for row in unread:
        pending = f"{row.type}, version {row.schema_version}: {row.deliveries} deliveries pending"
        yield "unknown", f"{pending}; renamed? Keep its old name with aliases={{…: {row.type!r}}}"
    for row in unknown:
        due = datetime.fromtimestamp(row.first_due_at, UTC)
        pending = f"{row.deliveries} pending, the first due {due:%FT%TZ}"
        renamed = f"renamed? Keep its deliveries with renamed={{{row.handler!r}: …}}"
        yield "unknown", f"{row.handler}: {pending}; {renamed}"
