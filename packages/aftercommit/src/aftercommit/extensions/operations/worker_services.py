"""Services of a worker: prune old history, and warn of deliveries that no process can run.

Any number of processes may run them at once: what one of them prunes, the others pass over.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from anyio import CancelScope, create_task_group, sleep

from aftercommit.database.database import Database
from aftercommit.deliveries.claim_statement import claimable_here
from aftercommit.deliveries.pauses import PAUSED
from aftercommit.deliveries.tables import CLAIMABLE, deliveries, events
from aftercommit.extensions.clock_difference import MOST_SECONDS, clock_difference, clocks_differ
from aftercommit.extensions.old_events import count_old_events, nothing_prunes
from aftercommit.extensions.operations.retention import prune
from aftercommit.extensions.operations.settings import OperationsSettings
from aftercommit.extensions.operations.unknown_names import unknown_handlers
from aftercommit.process.application import Application
from aftercommit.process.running_services import Service, Shutdown
from aftercommit.settings import DAY, EngineSettings
from aftercommit.terminal.printing import pluralize

PRUNE_SECONDS = 600.0
WARN_SECONDS = 60.0
CLOCK_SECONDS = 3600.0
PRUNE_PAUSE = 9.0  # times the duration of a pruning: there is no hurry

logger = logging.getLogger(__name__)


def worker_services(settings: EngineSettings) -> Sequence[Service]:
    """Return the services; without a retention time, nothing is pruned, and a warning says so."""
    days, known = settings.of(OperationsSettings).retention_days, list[sa.Row[Any]]()
    was_ahead, missing = False, set[str]()

    async def prune_old(application: Application) -> None:
        older_than = (days or 0) * DAY
        count = await prune(application.database, older_than=older_than, pause=PRUNE_PAUSE)
        logger.info("%d events older than %g days pruned", count, days)

    async def warn(application: Application) -> None:
        nonlocal was_ahead
        handlers, overdue = application.bus.registry.events, settings.lease_seconds
        with CancelScope(shield=True):  # so that even a worker that soon ends reports it
            found = await unclaimable_deliveries(application.database, handlers, overdue=overdue)
            ahead = await seconds_ahead(application.database)
            async with application.database.read_transaction() as transaction:
                strange = (await transaction.execute(unknown_handlers(application.handlers))).all()
        if ahead > overdue and not was_ahead:
            logger.warning(
                "the newest event is from %.0f s ahead of the clock: deliveries that were stored"
                " then wait until the clock reaches their time, unless you retry them",
                ahead,
            )
        was_ahead = ahead > overdue
        for row in found if found != known else ():
            logger.warning(
                "overdue: %s for %s (%d): this process cannot run them: unknown handler or event,"
                " or no server that they need is configured; start a process that can",
                *row,
            )
        known[:] = found
        for row in (row for row in strange if row.handler not in missing):
            logger.warning(
                "unknown handler %s: %s stored, the first due %s: this version cannot"
                " run them; if it has a handler for them, list it in renamed={%r: …}",
                *(row.handler, pluralize(row.deliveries)),
                *(f"{datetime.fromtimestamp(row.first_due_at, UTC):%FT%TZ}", row.handler),
            )
        missing.clear()
        missing.update(row.handler for row in strange)

    services = [
        _repeating(warn, WARN_SECONDS, "cannot find out which deliveries are overdue"),
        _repeating(_tell_of_clocks, CLOCK_SECONDS, "cannot compare the clocks"),
    ]
    if days is None:
        tell = partial(_tell_of_old, type(settings))
        return [*services, _repeating(tell, DAY, "cannot find out what is old")]
    return [*services, _repeating(prune_old, PRUNE_SECONDS, "old history could not be pruned")]


async def _tell_of_clocks(application: Application) -> None:
    async with application.database.read_transaction() as transaction:
        seconds = await clock_difference(transaction, application.database)
    if abs(seconds) > MOST_SECONDS:
        logger.warning("%s", clocks_differ(seconds))


async def _tell_of_old(settings: type[EngineSettings], application: Application) -> None:
    async with application.database.read_transaction() as transaction:
        count = await count_old_events(transaction, application.database)
    if count:
        logger.warning("%s", nothing_prunes(count, settings))


async def unclaimable_deliveries(
    database: Database, handlers: Collection[str], *, overdue: float
) -> Sequence[sa.Row[Any]]:
    """Return event type and handler of overdue deliveries that cannot be claimed, with counts.

    They were due `overdue` seconds ago, and these handlers cannot run them.
    """
    key = (events.c.type, deliveries.c.handler)
    late = ~PAUSED, deliveries.c.available_at <= database.clock - overdue
    statement = sa.select(*key, sa.func.count().label("number")).join_from(deliveries, events)
    statement = (
        statement.where(CLAIMABLE, *late, ~claimable_here(database.codec))
        .group_by(*key)
        .order_by(*key)
    )
    async with database.read_transaction() as transaction:
        return (await transaction.execute(statement, {"handlers": list(handlers)})).all()


async def seconds_ahead(database: Database) -> float:
    """Return how many seconds the newest event is in the future, because a clock was ahead."""
    newest = sa.select(sa.func.max(events.c.recorded_at) - database.clock)
    async with database.read_transaction() as transaction:
        return (await transaction.execute(newest)).scalar_one() or 0.0


def _repeating(
    work: Callable[[Application], Awaitable[None]], seconds: float, problem: str
) -> Service:
    """Return a service that repeats the work until it is asked to stop."""

    async def repeat(application: Application) -> None:
        while True:
            try:
                await work(application)
            except Exception as error:  # no error of the database may end the worker
                logger.warning("%s: %s", problem, error)
            await sleep(seconds)

    async def serve(application: Application, stop: Shutdown) -> None:
        async with create_task_group() as group:
            group.start_soon(repeat, application)
            await stop.wait()
            group.cancel_scope.cancel()

    return serve
