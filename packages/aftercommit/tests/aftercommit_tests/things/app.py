"""Its settings, its composition root, and how the engine starts it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import click
from aftercommit import (
    App,
    Application,
    CommandLine,
    Database,
    EngineSettings,
    Handlers,
    History,
    Observer,
    Sources,
    command_line,
    open_application,
)
from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.metrics import MetricsExtension
from aftercommit.extensions.operations import OperationsExtension, SubjectQuery
from aftercommit.extensions.otel import OtelExtension
from aftercommit.extensions.page import PageExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension
from aftercommit.extensions.web import WebExtension

from aftercommit_tests.inside.stored import ENGINE
from aftercommit_tests.things.bell import Bell, FileBell
from aftercommit_tests.things.domain import (
    InvalidName,
    MakeThing,
    RenameThing,
    ThingId,
)
from aftercommit_tests.things.handlers import CODEC, HANDLERS
from aftercommit_tests.things.storage import HISTORY, UnitOfWork, find_thing, start_mappers

SYSTEM = Sources()


def find_subjects(name: str) -> SubjectQuery:
    """Return the query for the thing that has this name.

    :raises InvalidName: if none can have it
    """
    if len(name) > 100:
        raise InvalidName("a name has at most 100 characters")
    return partial(find_thing, name=name)


EXTENSIONS = (
    PostgreSQLExtension(),
    BrokersExtension("aftercommit_tests.things.broker_messages"),
    OperationsExtension(find_subjects),
    MetricsExtension(),
    OtelExtension(),
    WebExtension("aftercommit_tests.things.routes"),
    PageExtension(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """Those of the engine, and where the bell is."""

    application: ClassVar[str] = "things"

    database_url: str = "sqlite:///things.db"
    bell_file: str = "bell.txt"


def open_things_database(
    url: str, *, history: History | None = HISTORY, **options: Any
) -> AbstractAsyncContextManager[Database]:
    """Open a database of things, perhaps in another way."""
    options = {"application": Settings.application, "codec": CODEC, **options}
    options |= {"histories": [ENGINE, history] if history else [ENGINE]}
    return Database(url, backends=APP.parts.database_backends(), **options).opened()


def bootstrap(
    settings: Settings,
    *,
    handlers: Handlers[Any, Any] = HANDLERS,
    bell: Bell | None = None,
    observers: Sequence[Observer] = (),
    sources: Sources = SYSTEM,
) -> AbstractAsyncContextManager[Application]:
    """Open everything the settings ask for, and close it at the end."""
    start_mappers()
    return open_application(
        APP,
        settings,
        UnitOfWork,
        handlers=handlers,
        effect_ports={"bell": bell or FileBell(Path(settings.bell_file))},
        observers=observers,
        sources=sources,
    )


@click.command()
@click.argument("name")
@click.option("--thing-id", type=click.UUID, help="Repeating it with this changes nothing.")
@click.pass_obj
def make_thing(cli: CommandLine[Settings], name: str, thing_id: UUID | None) -> None:
    """Make a thing called NAME."""
    made = MakeThing(thing_id=ThingId(thing_id or uuid4()), name=name)
    cli.handle(made, repeat_with=f"--thing-id {made.thing_id}")
    click.echo(f"made {name}: {made.thing_id}")


@click.command()
@click.argument("count", type=int)
@click.pass_obj
def make_things(cli: CommandLine[Settings], count: int) -> None:
    """Make COUNT things; repeating it makes those that are missing."""

    async def work(application: Application) -> None:
        for n in range(1, count + 1):
            made = MakeThing(thing_id=ThingId(UUID(int=n)), name=f"thing {n}")
            await application.bus.handle(made)

    cli.run(cli.load_settings(), work)


@click.command()
@click.argument("thing_id", type=click.UUID)
@click.argument("name")
@click.pass_obj
def rename_thing(cli: CommandLine[Settings], thing_id: UUID, name: str) -> None:
    """Call a thing NAME."""
    cli.handle(RenameThing(thing_id=ThingId(thing_id), name=name))


APP: App[Settings] = App(
    "things",
    summary="Make things.",
    handlers=HANDLERS,
    codec=CODEC,
    history=HISTORY,
    settings=Settings,
    open=lambda app, settings, *, observers, delivers: bootstrap(settings, observers=observers),
    database_url="sqlite:///things.db",
    extensions=EXTENSIONS,
    commands={
        "Use": {
            make_thing: "Make a thing called NAME.",
            make_things: "Make COUNT things; repeating it makes those that are missing.",
            rename_thing: "Call a thing NAME.",
        }
    },
)
cli = command_line(APP)
