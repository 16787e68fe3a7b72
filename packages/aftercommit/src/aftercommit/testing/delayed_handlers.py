"""Runs each delayed handler twice: in the original state, and after the state has changed."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from anyio import to_thread

from aftercommit.handler_entries import Later, handler_name, handler_of
from aftercommit.observers import Observer
from aftercommit.process.app import App
from aftercommit.process.application import Application
from aftercommit.testing.databases import sqlite_url
from aftercommit.testing.running import CLAIMED_AT_ONCE, let_time_pass

Scenario = Callable[[Application], Awaitable[object]]
"""Executes commands: those that lead to an event, or those that change the state afterwards."""

UNLISTED = """{0} is Later, and the test does not know what can happen before it runs. Add a line
with what leads to its event, and what then makes the handler needless"""
NO_EFFECT = """{0} has no effect even if nothing has changed, so the test would show nothing: does
{1} lead to its event?"""
EFFECT = """{0} has an effect although {1} came before: {2}. The state may change before it
runs: let it check the state, and do nothing if nothing is left to do"""
FAILED = "{0} fails after {1}: {2}. Let it do nothing if nothing is left to do"


async def check_delayed(
    app: App[Any],
    folder: Path,
    scenarios: Mapping[Any, tuple[Scenario, Scenario]],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run each `Later` handler twice, on its own databases: the state may have changed.

    For each handler, `scenarios` has a function that leads to its event, and one that then makes
    the handler needless. After the first alone, the handler has to have an effect; after both,
    none. An effect is a call to a port, an event, or a change in the application's tables. The
    ports are the real ones, with the settings in `environment`; the database is a SQLite file in
    the folder.

    :raises AssertionError: with a sentence for each handler that is not listed, that has no effect
        at first, or that still has one after the state has changed

    >>> import anyio, pathlib, uuid
    >>> from aftercommit import testing
    >>> from shop.domain.messages import CancelOrder, PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> from shop.service_layer.handlers import ask_for_feedback
    >>> id = uuid.uuid4()
    >>> order = PlaceOrder(order_id=id, email="ivan@example.com", articles={"lamp": 2})
    >>> async def ordered(application):
    ...     await application.bus.handle(order)
    >>> async def cancelled(application):
    ...     await application.bus.handle(CancelOrder(order_id=id))
    >>> scenarios = {ask_for_feedback: (ordered, cancelled)}
    >>> anyio.run(testing.check_delayed, APP, pathlib.Path(), scenarios)
    """
    table = app.handlers()
    listed = [each for entries in table.events.values() for each in entries]
    delayed = {handler_of(each) for each in listed if isinstance(each, Later)}
    problems = [UNLISTED.format(handler_name(each)) for each in delayed - scenarios.keys()]
    for handler, (first, then) in scenarios.items():
        name, cause, change = handler_name(handler), _name_of(first), _name_of(then)
        unchanged, _ = await _effects(app, folder, environment, name, [first])
        problems += [] if unchanged else [NO_EFFECT.format(name, cause)]
        effects, failures = await _effects(app, folder, environment, name, [first, then])
        problems += [EFFECT.format(name, change, ", ".join(effects))] if effects else []
        problems += [FAILED.format(name, change, failure) for failure in failures]
    if problems:
        raise AssertionError("\n".join(problems))


@dataclass
class _PortCalls(Observer):
    """Remembers which ports are called."""

    seen: list[str] = field(default_factory=list)

    def port_call(self, port: str, method: str) -> AbstractContextManager[object]:
        """Remember one call."""
        self.seen.append(f"it calls {port}.{method}")
        return nullcontext()


async def _effects(
    app: App[Any],
    folder: Path,
    environment: Mapping[str, str] | None,
    handler: str,
    scenarios: Collection[Scenario],
) -> tuple[list[str], list[str]]:
    """Run scenarios, then a handler when it is due; return its effects and failures."""
    name = f"{handler}-{len(scenarios)}.db"
    url = await to_thread.run_sync(sqlite_url, app, folder, name)
    settings, calls = app.load({"database_url": url}, environment or {}), _PortCalls()
    async with app.open(settings, observers=[calls]) as application:
        for happens in scenarios:
            await happens(application)
        before = await _rows(app, application)
        calls.seen.clear()
        seconds = max(
            subscribed.delay
            for of_event in app.handlers().subscriptions(settings).values()
            for name, subscribed in of_event.items()
            if name == handler
        )
        await let_time_pass(application, seconds=seconds)
        bus = application.bus
        report = await bus.run(await bus.delivery_store.claim(CLAIMED_AT_ONCE, [handler]))
        after = await _rows(app, application)
    events = [f"it records {type(each.event).__name__}" for each in report.events]
    changed = {table for table, _ in (before - after) + (after - before)}
    tables = [f"it changes {table}" for table in sorted(changed)]
    return [*calls.seen, *events, *tables], [repr(each.error) for each in report.failures]


async def _rows(app: App[Any], application: Application) -> Counter[tuple[str, str]]:
    """Return all rows of the application, each with the name of its table."""
    history = app.history()
    found = Counter[tuple[str, str]]()
    async with application.database.read_transaction() as transaction:
        for table in history.metadata.sorted_tables if history else ():
            rows = (await transaction.execute(sa.select(table))).all()
            found.update((table.name, repr(row)) for row in rows)
    return found


def _name_of(scenario: Scenario) -> str:
    return getattr(scenario, "__name__", repr(scenario))
