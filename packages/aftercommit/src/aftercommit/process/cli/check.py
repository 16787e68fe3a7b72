"""The command that says whether a process could work here, before one does."""

import os
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import click
import sqlalchemy as sa

from aftercommit.errors import Unavailable
from aftercommit.handler_table import raise_if_any
from aftercommit.ports import Publisher
from aftercommit.process.app import Cli
from aftercommit.process.assembly import handler_names
from aftercommit.process.runtime import run
from aftercommit.settings import EngineSettings
from aftercommit.sql.delivery_states import unknown_handlers
from aftercommit.sql.exceptions import DatabaseUnavailable
from aftercommit.sql.schema import check_schema
from aftercommit.sql.tables import CLAIMABLE, PARKED, deliveries

MOST_SKEW_SECONDS = (
    5.0  # later attempts, and the order of what is shown, go by the database's clock
)
UNMADE = "the program knows columns that no migration has made; write one for"


@click.command()
@click.pass_obj
def check(cli: Cli) -> None:
    """Check database, schema, handlers, clock and connections.

    There is a line for each that is fine; the first problem ends it, with the exit code of its
    kind. There is also a line for each unknown handler that stored deliveries are for.
    """
    settings = cli.load_settings()
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not os.path.exists(url.database or ""):
        raise DatabaseUnavailable(f"there is no file {os.path.abspath(url.database or '')}")

    async def work() -> None:
        async for subject, found in _found(cli, settings):
            click.echo(f"{subject:12} {found}")

    run(work, event_loop=settings.event_loop)


def _outstanding(clock: sa.ColumnElement[float]) -> sa.Select[int, float, int]:
    """Count what is due and what is parked; many that are due say that no worker runs."""
    late = clock - deliveries.c.available_at
    due = sa.and_(CLAIMABLE, late >= 0)
    return sa.select(
        sa.func.count().filter(due).label("due"),
        sa.func.max(late).filter(due).label("late"),
        sa.func.count().filter(PARKED).label("parked"),
    ).select_from(deliveries)


async def _known_handlers(cli: Cli, settings: EngineSettings) -> Collection[str]:
    """Return all names of handlers that this version has; a broker is not connected to for it."""
    async with AsyncExitStack() as opened:
        publishers = dict[str, Publisher]()
        for extension in cli.app.extensions:
            publishers |= await opened.enter_async_context(extension.publishers(settings))
        return handler_names(cli.app.handlers().publishing_to(publishers))


async def _found(cli: Cli, settings: EngineSettings) -> AsyncIterator[tuple[str, str]]:
    async with cli.app.open_database(settings) as database:
        shown, begun = sa.make_url(settings.database_url).render_as_string(), time.monotonic()
        async with database.read_transaction() as transaction:
            await transaction.execute(sa.select(sa.literal(1)))
            took = 1000 * (time.monotonic() - begun)
            yield "database", f"{shown} answers in {took:.0f} ms"
            before = time.time()
            clock = (await transaction.execute(sa.select(database.clock))).scalar_one()
            ahead = clock - (before + time.time()) / 2
            capacity = await transaction.run_sync(database.backend.capacity)
        revisions = await check_schema(database)
        async with database.read_transaction() as transaction:
            for history in database.histories:
                raise_if_any(UNMADE, await transaction.run_sync(history.lacking))
        yield "schema", f"up to date: {', '.join(revisions)}"
        async with cli.app.open(settings, delivers=False) as application:
            yield "handlers", f"{len(application.handlers)} of events, bound to what they ask for"
        if abs(ahead) > MOST_SKEW_SECONDS:
            raise Unavailable(
                f"the clock of the database is {ahead:+.0f} s off this machine's; have both set,"
                " by NTP, say"
            )
        yield "clock", f"{ahead:+.1f} s off this machine's"
        known = await _known_handlers(cli, settings)
        async with database.read_transaction() as transaction:
            found = (await transaction.execute(_outstanding(database.clock))).mappings().one()
            unknown = (await transaction.execute(unknown_handlers(known))).all()
        late = f", the oldest for {found['late']:.0f} s" if found["due"] else ""
        yield "deliveries", f"{found['due']} due{late}; {found['parked']} parked"
        for row in unknown:
            due = datetime.fromtimestamp(row.first_due_at, UTC)
            yield "unknown", f"{row.handler}: {row.deliveries} pending, the first due {due:%FT%TZ}"
        yield "connections", f"at most {database.engine.pool.size()} for a process{capacity}"  # type: ignore[attr-defined]
