"""Its settings, its composition root, and how the engine starts it."""

import os
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid4

import click
from aftercommit import (
    App,
    Application,
    Codec,
    CommandLine,
    CompositeObserver,
    Dependencies,
    EngineSettings,
    EnvelopeFactory,
    Extensions,
    Handlers,
    History,
    MessageBus,
    ObservedPort,
    Observer,
    Publisher,
    bind,
    command_line,
    ensure_schema,
    load,
    new_outbox,
    open_database,
    open_unit_of_work,
)
from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.metrics import MetricsExtension
from aftercommit.extensions.operations import OperationsExtension, SubjectQuery
from aftercommit.extensions.otel import OtelExtension
from aftercommit.extensions.page import PageExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension
from aftercommit.extensions.web import WebExtension
from anyio import Semaphore

from aftercommit_tests.things.bell import Bell, FileBell
from aftercommit_tests.things.domain import (
    Command,
    Event,
    InvalidName,
    MakeThing,
    RenameThing,
    ThingId,
)
from aftercommit_tests.things.handlers import CODEC, HANDLERS
from aftercommit_tests.things.storage import HISTORY, UnitOfWork, find_thing, start_mappers

if TYPE_CHECKING:
    from fastapi import APIRouter

LAMP = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")


def find_subjects(name: str) -> SubjectQuery:
    """Return the query for the thing that has this name.

    :raises InvalidName: if none can have it
    """
    if len(name) > 100:
        raise InvalidName("a name has at most 100 characters")
    return partial(find_thing, name=name)


EXTENSIONS = Extensions(
    (
        PostgreSQLExtension(),
        BrokersExtension(),
        OperationsExtension(find_subjects),
        MetricsExtension(),
        OtelExtension(),
        WebExtension(),
        PageExtension(),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """Those of the engine, and where the bell is."""

    application: ClassVar[str] = "things"

    database_url: str = "sqlite:///things.db"
    bell_file: str = "bell.txt"


open_things_database = partial(
    open_database,
    application=Settings.application,
    codec=CODEC,
    history=HISTORY,
    backends=EXTENSIONS.database_backends(),
)


@asynccontextmanager
async def bootstrap(
    settings: Settings,
    *,
    handlers: Handlers[Any, Any] = HANDLERS,
    bell: Bell | None = None,
    observers: Sequence[Observer] = (),
) -> AsyncIterator[Application]:
    """Open everything the settings ask for, and close it at the end."""
    start_mappers()
    async with AsyncExitStack() as opened:
        publishers, watching = dict[str, Publisher](), [*observers]
        for extension in EXTENSIONS:
            publishers |= await opened.enter_async_context(extension.publishers(settings))
            if observer := extension.observer(settings):
                watching.append(opened.enter_context(observer))
        instrumentation = CompositeObserver(watching)
        port: Callable[[str, Any], Any] = partial(ObservedPort, instrumentation)
        database = await opened.enter_async_context(
            open_things_database(
                settings.database_url,
                connections=settings.pool_size,
                handler_timeout=settings.handler_timeout_seconds,
                instance_name=settings.instance_name,
            )
        )
        await ensure_schema(database)
        ports = {name: port(name, publisher) for name, publisher in publishers.items()}
        table, outbox = handlers.publishing_to(ports), new_outbox(database, settings)
        bell = bell or FileBell(Path(settings.bell_file))
        dependencies = Dependencies(
            effect_ports={"bell": port("bell", bell)}, queries={}, constants={}
        )
        at_once = max(settings.max_handlers, settings.worker_concurrency)
        bus = MessageBus(
            registry=bind(table, dependencies),
            new_uow=partial(open_unit_of_work, outbox, UnitOfWork),
            outbox=outbox,
            policy=settings,
            slots=Semaphore(at_once, fast_acquire=True),
            envelopes=EnvelopeFactory(
                codec=CODEC,
                subscriptions=table.subscriptions(settings),
                new_id=uuid4,
                now=partial(datetime.now, UTC),
            ),
            random=random.random,
            instrumentation=instrumentation,
        )
        names = {name: name for name in table.by_name()} | dict(table.renamed)
        projections = [each.__name__ for each in table.projections]
        yield Application(bus, database, publishers, names, projections)


class Things(App[Settings]):
    """Makes things."""

    name = "things"
    summary = "Make things."
    extensions = EXTENSIONS
    default_database_url = "sqlite:///things.db"
    commands: ClassVar = {
        "Use": {"make-thing": "Make a thing called NAME.", "rename-thing": "Call a thing NAME."}
    }

    def command(self, name: str) -> click.Command:
        return {"make-thing": make_thing, "rename-thing": rename_thing}[name]

    def handlers(self) -> Handlers[Command, Event]:
        return HANDLERS

    def codec(self) -> Codec[Event]:
        return CODEC

    def history(self) -> History:
        return HISTORY

    def accepted_from_brokers(self) -> Sequence[type[Command]]:
        return [MakeThing, RenameThing]

    def example_values(self) -> Mapping[str, Any]:
        return {"thing_id": LAMP, "name": "lamp", "subject": LAMP}

    def public_routes(self) -> "APIRouter":
        from aftercommit_tests.things.routes import public

        return public

    def operator_routes(self) -> "APIRouter":
        from aftercommit_tests.things.routes import guarded

        return guarded

    def load(self, overrides: Mapping[str, Any]) -> Settings:
        return load(
            Settings,
            overrides,
            EXTENSIONS.env_lookup(os.environ.get),
            of_extensions=EXTENSIONS.settings(),
            log_formats=EXTENSIONS.log_formats,
        )

    def open(
        self, settings: Settings, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        return bootstrap(settings, observers=observers)

    def reporter(self, settings: Settings) -> Observer:
        return Observer()


@click.command()
@click.argument("name")
@click.option("--thing-id", type=click.UUID, help="Repeating it with this changes nothing.")
@click.pass_obj
def make_thing(cli: CommandLine[Settings], name: str, thing_id: UUID | None) -> None:
    """Make a thing called NAME."""
    made = MakeThing(thing_id=ThingId(thing_id or uuid4()), name=name)
    cli.handle(made)
    click.echo(f"made {name}: {made.thing_id}")


@click.command()
@click.argument("thing_id", type=click.UUID)
@click.argument("name")
@click.pass_obj
def rename_thing(cli: CommandLine[Settings], thing_id: UUID, name: str) -> None:
    """Call a thing NAME."""
    cli.handle(RenameThing(thing_id=ThingId(thing_id), name=name))


APP = Things()
cli = command_line(APP)
