"""A small application, which nothing but the engine runs: things are made, noted and announced.

    python one_file.py make-thing lamp
    python one_file.py worker --until-idle

Its domain imports the standard library alone, as everybody's should.
"""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import click
import sqlalchemy as sa
from aftercommit import (
    App,
    Application,
    Codec,
    CommandLine,
    CompositeObserver,
    Database,
    Dependencies,
    EngineSettings,
    EnvelopeFactory,
    Extensions,
    Handlers,
    IdempotencyKey,
    Later,
    MessageBus,
    Observer,
    Refusals,
    Repository,
    Transaction,
    bind,
    command_line,
    ensure_schema,
    load,
    new_outbox,
    on,
    open_database,
    open_unit_of_work,
)
from anyio import Semaphore
from sqlalchemy.orm import registry


class Command:
    """Base of all commands."""


class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeThing(Command):
    """Make a thing, once."""

    thing_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingMade(Event):
    """There is a new thing."""

    thing_id: UUID
    name: str


class ThingNotFoundError(Exception):
    """No thing has this id."""

    error_kind = "refused"


class InvalidNameError(Exception):
    """A thing has to be called something."""

    error_kind = "invalid"


class Thing:
    """Something that has a name."""

    recorded: tuple[Event, ...] = ()
    new_parts: Sequence[object] = ()

    def __init__(self, thing_id: UUID, name: str) -> None:
        if not name:
            raise InvalidNameError("a thing has to have a name")
        self.id, self.name, self.version = thing_id, name, 0
        self.recorded = (ThingMade(thing_id=thing_id, name=name),)

    @property
    def subject(self) -> str:
        """What its events are about."""
        return str(self.id)

    def pull_events(self) -> Sequence[Event]:
        """Hand over the recorded events, once."""
        pulled, self.recorded = self.recorded, ()
        return pulled


metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
notes = sa.Table("notes", metadata, sa.Column("text", sa.String, nullable=False))
mapping = registry(metadata=metadata)


class UnitOfWork:
    """What a handler may change."""

    def __init__(self, transaction: Transaction) -> None:
        self.things = Repository[Thing, UUID](transaction, Thing, ThingNotFoundError)
        self._transaction = transaction

    async def note(self, text: str) -> None:
        """Write a line, which shows how often that took effect."""
        await self._transaction.execute(sa.insert(notes), {"text": text})

    async def before_commit(self) -> None:
        """Leave all as it is: there is no read model."""

    def refusals(self, seen: Sequence[object]) -> Refusals:
        """Return no rule: the database checks none of ours."""
        return {}


class Bell:
    """Rings, for all to hear: a line in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def ring(self, text: str, *, idempotency_key: IdempotencyKey) -> None:
        """Ring once more."""
        with self._file.open("a") as file:
            file.write(f"{text} {idempotency_key}\n")


async def make_thing(command: MakeThing, uow: UnitOfWork) -> None:
    """Make a thing, unless it is there."""
    if await uow.things.find(command.thing_id) is None:
        uow.things.add(Thing(command.thing_id, command.name))


async def take_note(event: ThingMade, uow: UnitOfWork) -> None:
    """Have an effect in the database."""
    await uow.note(event.name)


async def announce(event: ThingMade, bell: Bell, idempotency_key: IdempotencyKey) -> None:
    """Have an effect outside."""
    await bell.ring(event.name, idempotency_key=idempotency_key)


async def forget(event: ThingMade, uow: UnitOfWork) -> None:
    """Have an effect after a day."""
    await uow.note(f"{event.name} is forgotten")


HANDLERS: Handlers[Command, Event] = Handlers(
    commands=[on(MakeThing, make_thing)],
    events=[on(ThingMade, take_note, announce, Later(forget, after=timedelta(days=1)))],
)
CODEC: Codec[Event] = Codec(source="/things", events=[ThingMade])


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """Those of the engine, and where the bell is."""

    application: ClassVar[str] = "things"

    database_url: str = "sqlite:///things.db"
    bell_file: str = "bell.txt"


@asynccontextmanager
async def bootstrap(
    settings: Settings, observers: Sequence[Observer] = ()
) -> AsyncIterator[Application]:
    """Open and wire everything."""
    if not list(mapping.mappers):
        mapping.map_imperatively(Thing, things, version_id_col=things.c.version)
    bell = Bell(Path(settings.bell_file))
    dependencies = Dependencies(effect_ports={"bell": bell}, queries={}, constants={})
    async with open_database(settings.database_url, application="things", codec=CODEC) as database:
        await ensure_schema(database)
        await make_tables(database)
        outbox = new_outbox(database, settings)
        bus = MessageBus(
            registry=bind(HANDLERS, dependencies),
            new_uow=partial(open_unit_of_work, outbox, UnitOfWork),
            outbox=outbox,
            policy=settings,
            slots=Semaphore(settings.max_handlers),
            envelopes=EnvelopeFactory(
                codec=CODEC,
                subscriptions=HANDLERS.subscriptions(settings),
                new_id=uuid4,
                now=partial(datetime.now, UTC),
            ),
            random=random.random,
            instrumentation=CompositeObserver(observers),
        )
        yield Application(bus, database, {}, {name: name for name in HANDLERS.by_name()})


async def make_tables(database: Database) -> None:
    """Make our tables beside those of the engine. Who has migrations passes a `History`."""
    async with database.write_transaction() as transaction:
        await transaction.run_sync(metadata.create_all)
        await transaction.commit()


class Things(App[Settings]):
    """Makes things."""

    name = "things"
    summary = "Make things."
    extensions = Extensions()
    default_database_url = "sqlite:///things.db"
    commands: ClassVar = {"Use": {"make-thing": "Make a thing called NAME."}}

    def command(self, name: str) -> click.Command:
        """Return the only command."""
        return {"make-thing": make}[name]

    def handlers(self) -> Handlers[Command, Event]:
        """Return the table of handlers."""
        return HANDLERS

    def codec(self) -> Codec[Event]:
        """Return what is said of messages."""
        return CODEC

    def load(self, overrides: Mapping[str, Any]) -> Settings:
        """Return the settings."""
        return load(Settings, overrides)

    def open(
        self, settings: Settings, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        """Open everything."""
        return bootstrap(settings, observers)

    def reporter(self, settings: Settings) -> Observer:
        """Print nothing."""
        return Observer()


@click.command()
@click.argument("name")
@click.pass_obj
def make(cli: CommandLine[Settings], name: str) -> None:
    """Make a thing."""
    cli.handle(MakeThing(thing_id=uuid4(), name=name))


if __name__ == "__main__":
    command_line(Things())(prog_name="things")
