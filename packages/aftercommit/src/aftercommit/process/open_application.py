"""Opens an application: its database, deliveries, bus, publishers, and what handlers ask for.

The application's bootstrap calls this with its own ports, queries and constants.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from anyio import Semaphore

from aftercommit.bus import MessageBus
from aftercommit.clock_and_ids import SYSTEM, Sources, for_handlers
from aftercommit.database.database import Database
from aftercommit.database.schema import ensure_schema
from aftercommit.deliveries.schedule_rows import check_schedules
from aftercommit.deliveries.store import new_delivery_store
from aftercommit.deliveries.unit_of_work_scope import open_unit_of_work
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.handler_binding import Dependencies, bind
from aftercommit.handler_table import Handlers
from aftercommit.observers import CompositeObserver, Observer
from aftercommit.ports import Publisher
from aftercommit.process.app import App
from aftercommit.process.application import Application
from aftercommit.process.parts import NOTHING
from aftercommit.settings import EngineSettings

EffectPorts = Callable[[Database, Mapping[str, Callable[[], Any]]], Mapping[str, Any]]
"""Returns an application's effect ports, given its database and a maker of extensions' ports."""


@asynccontextmanager
async def open_application(
    app: App[Any],
    settings: EngineSettings,
    new_uow: Callable[..., Any],
    *,
    handlers: Handlers[Any, Any] | None = None,
    effect_ports: Mapping[str, Any] | EffectPorts = NOTHING,
    queries: Mapping[str, Callable[..., Any]] = NOTHING,
    constants: Mapping[str, Any] = NOTHING,
    observers: Sequence[Observer] = (),
    delivers: bool = True,
    open_uow: Callable[..., AbstractAsyncContextManager[Any]] = open_unit_of_work,
    transaction: str = "uow",
    beside_others: bool = False,
    sources: Sources = SYSTEM,
) -> AsyncIterator[Application]:
    """Open everything the settings ask for, and close it at the end, even if cancelled.

    `new_uow` makes the unit of work of a transaction. For what handlers may ask for see
    `Dependencies`; for the time, ids and tokens see `Sources`, which the application's own
    constants of these names replace. The database is each query's first argument. Effect ports
    replace those of extensions with the same name. For `beside_others` see `ensure_schema`.
    `sources` is for tests.

    :raises InvalidValue: if a setting is wrong
    :raises WiringError: if a handler cannot work, for example because it asks for something unknown
    :raises Unavailable: if the database cannot be used as it is

    >>> import anyio
    >>> from aftercommit import open_application
    >>> from shop import views
    >>> from shop.adapters.repositories import unit_of_work
    >>> from shop.entrypoints.app import APP
    >>> queries = {"is_cancelled": views.is_cancelled}
    >>> async def main():
    ...     settings = APP.load({})
    ...     async with open_application(APP, settings, unit_of_work, queries=queries) as it:
    ...         return len(it.handlers)
    >>> anyio.run(main)
    4
    """
    async with AsyncExitStack() as opened:
        publishers, instrumentation = await _open_parts(opened, app, settings, observers)
        database = await opened.enter_async_context(app.open_database(settings))
        database.sources, port = sources, instrumentation.port

        def offer(make: Callable[..., Any]) -> Any:
            offered_port = make(settings, delivers=delivers)
            if close := getattr(offered_port, "aclose", None):
                opened.push_async_callback(close)
            return offered_port

        offered = {n: partial(offer, make) for each in app.parts for n, make in each.ports.items()}
        own = effect_ports(database, offered) if callable(effect_ports) else effect_ports
        ports = {name: make() for name, make in offered.items() if name not in own} | {**own}
        to_publish = {name: port(name, publisher) for name, publisher in publishers.items()}
        table = (handlers or app.handlers()).publishing_to(to_publish)
        dependencies = Dependencies(
            effect_ports={
                name: None if value is None else port(name, value)  # empty is not false
                for name, value in ports.items()
            },
            queries={name: partial(query, database) for name, query in queries.items()},
            constants=for_handlers(lambda: database.sources, {*ports, *queries}) | {**constants},
        )
        registry = bind(table, dependencies, transaction=transaction)
        envelopes = EnvelopeFactory(
            codec=app.codec(),
            subscriptions=table.subscriptions(settings),
            new_id=sources.new_id,
            now=sources.now,
        )
        check_schedules(table.every, envelopes)
        made = new_uow if transaction == "uow" else None
        await ensure_schema(database, new_uow=made, beside_others=beside_others)
        limits, instead = table.limits(settings), table.instead
        delivery_store = new_delivery_store(database, settings, limits, instead)
        bus = MessageBus(
            registry=registry,
            new_uow=partial(open_uow, delivery_store, new_uow),
            delivery_store=delivery_store,
            policy=settings,
            slots=Semaphore(
                max(settings.max_handlers, settings.worker_concurrency), fast_acquire=True
            ),
            envelopes=envelopes,
            random=sources.random,
            instrumentation=instrumentation,
        )
        projections = [projection.__name__ for projection in table.projections]
        names = {name: name for name in table.by_name()} | dict(table.renamed)
        subscriptions = app.parts.subscriptions
        yield Application(bus, database, publishers, names, projections, subscriptions, table.every)


async def _open_parts(
    opened: AsyncExitStack, app: App[Any], settings: EngineSettings, observers: Sequence[Observer]
) -> tuple[Mapping[str, Publisher], CompositeObserver]:
    """Open the publishers and observers of an application's parts."""
    publishers, watching = dict[str, Publisher](), [*observers]
    for parts in app.parts:
        for publishing in parts.publishers:
            publishers |= await opened.enter_async_context(publishing(settings))
        for watch in parts.observers:
            if observer := watch(settings):
                watching.append(opened.enter_context(observer))
    return publishers, CompositeObserver(watching)
