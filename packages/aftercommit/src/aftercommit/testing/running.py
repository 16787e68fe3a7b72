"""What tests do with an open application: run due deliveries, let time pass, replay."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from aftercommit.claims import CommandWork, Report
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries import tables
from aftercommit.deliveries.schedule_rows import Schedules
from aftercommit.deliveries.states import Transition, aged, given_up, replayed
from aftercommit.errors import InvalidValue
from aftercommit.giving_up import GivenUp
from aftercommit.process.application import Application

CLAIMED_AT_ONCE = 20
UNDONE = ("parked_at", "discarded_at", "given_up")
NINE_YEARS = 9 * 366 * 86400.0  # there is a 29th of February in them


@asynccontextmanager
async def unit_of_work(application: Application) -> AsyncIterator[Any]:
    """Open a unit of work as for a command's handler; commit it at the end if nothing raises.

    For tests of repositories. Events are stored with their deliveries, which are due then:
    `deliver_due` runs their handlers.

    :raises Exception: with the commit, as from the handler of a command

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop.domain.orders import Order
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         async with testing.unit_of_work(application) as uow:
    ...             uow.orders.add(Order.place(uuid.uuid4(), "ivan@example.com", {"lamp": 2}))
    >>> anyio.run(main)
    """
    work = CommandWork(id=uuid4(), type="test", message=None)
    async with application.bus.new_uow(work) as scope:
        yield scope.uow
        committed = await scope.commit(application.bus.envelopes)
    if committed.claims:  # or nobody could claim them before the end of their leases
        await application.bus.delivery_store.release(committed.claims)


async def deliver_due(application: Application) -> Report:
    """Run due deliveries, like a worker, and what they cause, until none is due; return a report.

    What fails is due again after its pause: `let_time_pass`. Schedules do not come by themselves:
    `time_comes`.

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({"dispatch": "worker"})) as application:
    ...         await application.bus.handle(order)
    ...         return await testing.deliver_due(application)
    >>> anyio.run(main).failures
    []
    """
    delivery_store, handlers = application.bus.delivery_store, list(application.bus.registry.events)
    report = Report()
    while claims := await delivery_store.claim(CLAIMED_AT_ONCE, handlers):
        result = await application.bus.run(claims)
        report.events += result.events
        report.failures += result.failures
        report.unwritten |= result.unwritten
    return report


async def give_up(application: Application, *handlers: str) -> None:
    """Let these handlers have failed for good: their outstanding deliveries are given up.

    `deliver_due` then runs what happens instead. To let the time of an `Otherwise` end, use
    `let_time_pass`.

    :raises InvalidValue: if nothing happens instead of one of them

    >>> import anyio
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         await testing.give_up(application, "confirm_order")
    >>> anyio.run(main)
    Traceback (most recent call last):
    aftercommit.errors.InvalidValue: handler: 'confirm_order' has no Otherwise
    """
    for name in handlers:
        if name not in application.bus.registry.instead:
            raise InvalidValue("handler", f"{name!r} has no Otherwise")
    row, why = (
        tables.deliveries.c,
        GivenUp("attempts", "defect", application.bus.policy.max_attempts),
    )
    these = row.handler.in_(handlers), row.given_up.is_(None)
    async with application.database.write_transaction() as transaction:
        now = application.database.clock
        last = sa.func.coalesce(row.last_error, "given up by a test")
        end = given_up(now, last, why.text).values | {"parked_at": None, "token": row.token + 1}
        await transaction.execute(Transition(~tables.FINISHED, **end).update(*these))
        await transaction.commit()


async def time_comes(application: Application, schedule: str) -> None:
    """Store the event of a schedule, by its name, as a worker does: that of its latest time.

    `deliver_due` runs its handlers. With another call, the same time comes once more.

    :raises InvalidValue: if there is no such schedule, or it had no time in the last nine years

    >>> import anyio, dataclasses
    >>> from aftercommit import Every, Outbox, on, testing
    >>> @dataclasses.dataclass(frozen=True)
    ... class NightHasCome:
    ...     day: str
    >>> async def summarize(event: NightHasCome) -> None:
    ...     print("a summary")
    >>> nightly = Every("nightly", "0 3 * * *", lambda at: NightHasCome(f"{at:%F}"))
    >>> outbox = Outbox("shop", "sqlite:///a.db", [on(NightHasCome, summarize)], every=[nightly])
    >>> async def main():
    ...     async with outbox.app.open(outbox.app.load({})) as application:
    ...         await testing.time_comes(application, "nightly")
    ...         await testing.deliver_due(application)
    >>> anyio.run(main)
    a summary
    """
    database, named = application.database, {each.name: each for each in application.every}
    if (each := named.get(schedule)) is None:
        raise InvalidValue("schedule", f"{schedule!r} does not exist; there is {', '.join(named)}")
    async with database.write_transaction() as transaction:
        now = (await transaction.execute(sa.select(database.clock))).scalar_one()
        if (due := each.due(now - NINE_YEARS, now)) is None:
            raise InvalidValue("schedule", f"{schedule!r} had no time in the last nine years")
        row = {"name": each.key, "last_at": due.at.timestamp() - 1}
        await transaction.execute_dml(sa.delete(tables.schedules).filter_by(name=each.key))
        await transaction.execute(sa.insert(tables.schedules), [row])
        await transaction.commit()
    await Schedules(database, [each], application.bus.envelopes).store_due()


async def let_time_pass(application: Application, *columns: sa.Column[Any], **time: float) -> None:
    """Let time pass for the application, in `timedelta`'s arguments: `days=25`.

    The `now` of handlers is later from then on. The engine's rows follow the database's clock,
    which is not changed, so the rows are made older: leases expire, delays end, scheduled
    deliveries fall due, limits let more begin. Pass your own `columns` that your SQL compares with
    that clock: their values are made older, too, whether they are times, dates, or seconds. Leave
    out a column that is compared with `now`, because its time has already come nearer.

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         await application.bus.handle(order)
    ...         await testing.let_time_pass(application, days=25)
    ...         return await testing.deliver_due(application)
    >>> anyio.run(main).failures
    []
    """
    passed, sources = timedelta(**time), application.database.sources
    seconds = passed.total_seconds()
    async with application.database.write_transaction() as transaction:
        for column in tables.commands.c.accepted_at, tables.events.c.recorded_at:
            older = sa.update(column.table).values({column.name: column - seconds})
            await transaction.execute(older)
        await transaction.execute(aged(seconds).update())
        times = {name: tables.limits.c[name] - seconds for name in ("tat", "claimed_at")}
        await transaction.execute(sa.update(tables.limits).values(times))
        for column in columns:
            await _let_be_older(transaction, column, passed)
        await transaction.commit()
    application.database.sources = replace(sources, now=lambda: sources.now() + passed)


async def _let_be_older(
    transaction: Transaction, column: sa.Column[Any], passed: timedelta
) -> None:
    """Change each value separately, because databases store times differently."""
    key: list[sa.ColumnElement[Any]] = [*column.table.primary_key]
    found = await transaction.execute(sa.select(column, *key).where(column.is_not(None)))
    for row in found.all():
        value = row[0]
        older = value - (passed if isinstance(value, date) else passed.total_seconds())
        this = [each == row[number] for number, each in enumerate(key, 1)]
        await transaction.execute(sa.update(column.table).where(*this).values({column: older}))


async def replay(application: Application, *handlers: str) -> None:
    """Make the deliveries to these handlers due again as if none was attempted, even done ones.

    So a test can show what a handler does when it runs again, or gets an event twice.

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop import views
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         await application.bus.handle(order)
    ...         await testing.replay(application, "count_order")
    ...         await testing.deliver_due(application)
    ...         return await views.statistics(application.database)
    >>> anyio.run(main)  # `count_order` is not idempotent
    {'placed': 2, 'cancelled': 0}
    """
    handler, now = tables.deliveries.c.handler, application.database.clock
    values = replayed(now, handler).values | dict.fromkeys(UNDONE)
    values["replay"] = False  # it does not wait for other due deliveries
    async with application.database.write_transaction() as transaction:
        await transaction.execute(Transition(handler.in_(handlers), **values).update())
        await transaction.commit()
