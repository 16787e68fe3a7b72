"""An outbox in the form in which the command line and the worker know applications."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import fields, replace
from datetime import timedelta
from functools import cached_property, partial
from inspect import getmembers_static, iscoroutinefunction, isfunction, ismethod
from typing import Any, cast

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from aftercommit.clock_and_ids import Sources, for_handlers
from aftercommit.codec import Codec, Upcasters
from aftercommit.database.database import Database, find_backend
from aftercommit.database.database_url import parse_url
from aftercommit.deliveries.tables import RAW_EVENTS
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.errors import WiringError, raise_if_any
from aftercommit.handler_binding import BoundHandler, Dependencies, bind, types_of
from aftercommit.handler_entries import Entry
from aftercommit.handler_table import Handlers
from aftercommit.observers import Observer
from aftercommit.outbox.engine_of_application import (
    EngineSource,
    ensure_same_place,
    find_engine,
    given_engine,
    url_of,
)
from aftercommit.outbox.handler_session import WRITE, open_session
from aftercommit.outbox.handler_thread import synchronous_of, with_threads
from aftercommit.outbox.in_application_context import NewContext, in_context
from aftercommit.process.app import App
from aftercommit.process.application import Application
from aftercommit.process.open_application import open_application
from aftercommit.process.parts import Extension
from aftercommit.schedules import Every
from aftercommit.secret_text import SecretText
from aftercommit.settings import EngineSettings

OF_ANOTHER_KIND = (
    "handlers ask for a session of another class than they are given. Those made with `async def` "
    "are given {0}, those made with `def` {1}: annotate that, or make the handler the other "
    "way. If it is a class of your own, give the outbox a `session` that makes it. They are"
)
CHOOSES_ENGINE = (
    "the sessions of handlers have the connection of their delivery, but a class with a `get_bind` "
    "of its own chooses an engine. Give the outbox `session=Session` or `session=AsyncSession` of "
    "SQLAlchemy, or leave `session` out. It is"
)
CANNOT_AWAIT = "is made with `def`, so it cannot await, and would lose what it asks for"

DRIVERS = {"anyio", "asyncpg", "psycopg"}  # in a URL, these are meant for the worker, too


class OutboxApp(App[EngineSettings]):
    """An application of which the engine knows only the outbox."""

    owns_prefix = False

    def __init__(
        self,
        name: str,
        engine: EngineSource,
        events: Sequence[Entry[object, None]],
        *,
        context: NewContext,
        ports: Mapping[str, Any],
        values: Mapping[str, Any],
        session: Callable[..., AsyncSession | Session],
        upcasters: Upcasters,
        aliases: Mapping[type[Any], str],
        renamed: Mapping[str, str],
        every: Sequence[Every[object]],
        extensions: Sequence[Extension],
        sources: Sources,
        settings: Mapping[str, Any],
    ) -> None:
        _expect("name", name, str, "text")
        _expect("events", events, Sequence, "a list of entries, even if there is only one")
        _expect("every", every, Sequence, "a list of schedules, even if there is only one")
        for named, given in {"ports": ports, "values": values, "renamed": renamed}.items():
            _expect(named, given, Mapping, "a dict, by names")
        self._engine, self._context = engine, context
        self._found: object = None
        known = None if callable(engine) else self.engine()
        default = known if isinstance(known, str) else SecretText("the engine of the outbox")
        is_apart = isinstance(known, str) or (known and known.dialect.is_async)
        handled = with_threads(events)
        if context is not nullcontext or not is_apart:
            handled = [in_context(each, context, self._engine_in_context) for each in handled]
        self.sources, own = sources, {"application": name, "__slots__": ()}
        kind: type[EngineSettings] = type("Settings", (EngineSettings,), own)
        self.session, self.ports, self.values = _async_maker(session), ports, values
        table = Handlers[Any, Any](commands=[], events=handled, renamed=renamed, every=every)
        types = [entry.message for entry in events]
        codec = Codec[Any](source=f"/{name}", events=types, upcasters=upcasters, aliases=aliases)
        super().__init__(
            name,
            program="aftercommit MODULE:NAME",
            summary=f"Deliver the events of {name}.",
            handlers=table,
            codec=codec,
            settings=kind,
            given=settings,
            open=_open,
            database_url=default,
            extensions=extensions,
        )
        names = {field.name for each in (kind, *self.parts.settings()) for field in fields(each)}
        raise_if_any("an outbox has no settings of these names", settings.keys() - names)
        constants = for_handlers(lambda: self.sources, ports) | {**values}
        dependencies = Dependencies(effect_ports=ports, queries={}, constants=constants)
        self.bound = bind(table, dependencies, transaction="session")
        made = self.session(bind=None)
        kinds = [
            f"{kind.__module__}.{kind.__name__}" for kind in map(type, (made, made.sync_session))
        ]
        wrong = [each.name for each in self.bound.events.values() if not _suits(each, made)]
        raise_if_any(OF_ANOTHER_KIND.format(*kinds), wrong)
        for each in self.bound.events.values():
            if synchronous_of(each.handler):
                asynchronous = [key for key in each.ports if _has_to_be_awaited(ports[key])]
                raise_if_any(f"{each.name} {CANNOT_AWAIT}", asynchronous)

    def _engine_in_context(self) -> object:
        """Return what `engine` has found; it is called within the context."""
        return self._found or find_engine(self._engine)

    def engine(self) -> Engine | SecretText:
        """Return the application's current engine, or the given URL.

        :raises InvalidValue: if it is given as a function that fails
        """
        self._found = found = find_engine(self._engine, self._context)
        if isinstance(found, Engine):
            return found
        url = parse_url(found)
        scheme, _, driver = url.drivername.partition("+")
        if driver not in DRIVERS:  # it is for sessions; the worker's suits its event loop
            url = url.set(drivername=scheme)
        return SecretText(url.render_as_string(hide_password=False))

    def load(
        self, overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ
    ) -> EngineSettings:
        """Return the settings; their URL is that of the engine, if there is one.

        :raises InvalidValue: if one is wrong, or if it names another database than the engine
        """
        engine = self.engine()
        if isinstance(engine, str):
            self._database_url = engine  # a function may return another one each time
            return super().load(overrides, environment)
        variable = self.settings().variable("database_url")
        ignored = {
            "--database-url": overrides.get("database_url"),
            variable: self.parts.env_lookup(environment.get)(variable),
        }
        for name, url in ignored.items():
            if url:
                ensure_same_place(engine, url, name)
        of_engine = url_of(engine).render_as_string(hide_password=False)
        return super().load({**overrides, "database_url": of_engine}, environment)

    def open_database(
        self, settings: EngineSettings, **given: Any
    ) -> AbstractAsyncContextManager[Database]:
        """Open only the database, with connections like those of the engine, if there is one."""
        engine = self.engine()
        if isinstance(engine, str):
            return super().open_database(settings)
        url = parse_url(settings.database_url)
        backend = find_backend(url.get_backend_name(), self.parts.database_backends())
        url, like = given_engine(engine, url, backend)
        text = url.render_as_string(hide_password=False)
        return super().open_database(replace(settings, database_url=text), given=like)

    @contextmanager
    def later(self, passed: timedelta) -> Iterator[None]:
        """Let `now` of handlers be later, in a test."""
        sources = self.sources
        self.sources = replace(sources, now=lambda: sources.now() + passed)
        try:
            yield
        finally:
            self.sources = sources

    @cached_property
    def envelopes(self) -> EnvelopeFactory:
        """Makes the envelopes of the events."""
        return EnvelopeFactory(
            codec=self.codec(),
            subscriptions=self.handlers().subscriptions(self.load({})),
            new_id=self.sources.new_id,
            now=self.sources.now,
        )


def _open(
    app: OutboxApp, settings: EngineSettings, *, observers: Sequence[Observer], delivers: bool
) -> AbstractAsyncContextManager[Application]:
    return open_application(
        app,
        settings,
        app.session,
        effect_ports=app.ports,
        constants=app.values,
        observers=observers,
        open_uow=open_session,
        transaction="session",
        beside_others=True,
        sources=app.sources,
    )


def _expect(name: str, given: object, kind: type[Any], said: str) -> None:
    if not isinstance(given, kind):
        raise WiringError(f"`{name}` of an outbox has to be {said}, not", repr(given))


def _async_maker(new_session: Callable[..., AsyncSession | Session]) -> Callable[..., AsyncSession]:
    """Return a maker of asynchronous sessions, perhaps around those of synchronous code.

    :raises WiringError: if it makes no sessions, or if these choose an engine of their own
    """
    if isinstance(new_session, scoped_session | async_scoped_session):
        new_session = new_session.session_factory  # such as db.session: a new one each time
    made: object = new_session(bind=None)
    sync = made.sync_session if isinstance(made, AsyncSession) else made
    if not isinstance(sync, Session):
        problem = "`session` of an outbox is a class of sessions, or a sessionmaker; this makes"
        raise WiringError(problem, repr(made))
    if not _keeps_connection(sync):
        chooses = next(each for each in type(sync).__mro__ if "get_bind" in vars(each))
        raise WiringError(CHOOSES_ENGINE, f"{chooses.__module__}.{chooses.__qualname__}")
    if sync is not made:
        return cast("Callable[..., AsyncSession]", new_session)

    def make(*, bind: Any, binds: None = None) -> Any:
        return new_session(bind=bind)  # the application's own maker decides which `binds` it has

    return partial(AsyncSession, sync_session_class=make)  # type: ignore[arg-type]


def _keeps_connection(session: Session) -> bool:
    """Tell whether it reads and writes over what it is given, whatever its class overrides."""
    session.bind = given = cast("Any", object())
    try:
        return all(session.get_bind(clause=each) is given for each in (WRITE, RAW_EVENTS))
    except Exception:  # as outside of a context of Flask
        return False


def _suits(handler: BoundHandler, session: AsyncSession) -> bool:
    """Tell whether a handler can take such a session, as far as its annotation can be read."""
    given = session.sync_session if synchronous_of(handler.handler) else session
    try:
        said = types_of(handler.handler, "session", object)
        return Any in said or isinstance(given, tuple(said))
    except Exception:  # of a type that only a checker imports or knows
        return True


def _has_to_be_awaited(port: object) -> bool:
    """Tell whether all methods of a port are asynchronous."""
    own = [value for name, value in getmembers_static(type(port)) if not name.startswith("_")]
    called = [port] if isfunction(port) or ismethod(port) else [*filter(isfunction, own)]
    return bool(called) and all(map(iscoroutinefunction, called))
