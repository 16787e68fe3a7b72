"""An outbox as the command line, its commands and the worker know applications."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from functools import cached_property
from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession

from aftercommit.clock_and_ids import Sources
from aftercommit.codec import Codec, Upcasters
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.errors import WiringError, raise_if_any
from aftercommit.handler_binding import BoundHandler, Dependencies, bind, types_of
from aftercommit.handler_entries import Entry
from aftercommit.handler_table import Handlers
from aftercommit.observers import Observer
from aftercommit.outbox.handler_session import open_session
from aftercommit.process.app import App
from aftercommit.process.application import Application
from aftercommit.process.open_application import open_application
from aftercommit.process.parts import Extension
from aftercommit.secret_text import SecretText
from aftercommit.settings import EngineSettings
from aftercommit.sql.database_url import parse_url

OF_ANOTHER_KIND = """handlers ask for a session of another class than {0}, which they are given. If
you have written Session, write AsyncSession, and await what it does. If it is a class of your own,
give the outbox a `session` that makes it. They are"""

DRIVERS = {"anyio", "asyncpg", "psycopg"}  # in a URL, these are meant for the worker as well


class OutboxApp(App[EngineSettings]):
    """The application of which an outbox is all that the engine knows."""

    def __init__(
        self,
        name: str,
        database_url: str | URL,
        events: Sequence[Entry[object, None]],
        *,
        ports: Mapping[str, Any],
        values: Mapping[str, Any],
        session: Callable[..., AsyncSession],
        upcasters: Upcasters,
        aliases: Mapping[type[Any], str],
        renamed: Mapping[str, str],
        extensions: Sequence[Extension],
        sources: Sources,
        settings: Mapping[str, Any],
    ) -> None:
        _expect("name", name, str, "text")
        _expect("events", events, Sequence, "a list of entries, also if there is one")
        for named, given in {"ports": ports, "values": values, "renamed": renamed}.items():
            _expect(named, given, Mapping, "a dict, by names")
        if isinstance(database_url, URL):  # SQLAlchemy's
            database_url = database_url.render_as_string(hide_password=False)
        if not isinstance(database_url, str):
            problem = "`database_url` of an outbox is text; say str(…) of another kind of URL than"
            raise WiringError(problem, type(database_url).__name__)  # itself, it may be shown whole
        url = parse_url(database_url)
        scheme, _, driver = url.drivername.partition("+")
        if driver not in DRIVERS:  # it is for sessions; the worker's suits its event loop
            url = url.set(drivername=scheme)
        self.sources, own = sources, {"application": name, "__slots__": ()}
        kind: type[EngineSettings] = type("Settings", (EngineSettings,), own)
        self.session, self.ports, self.values = session, ports, values
        table = Handlers[Any, Any](commands=[], events=events, renamed=renamed)
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
            database_url=SecretText(url.render_as_string(hide_password=False)),
            extensions=extensions,
        )
        known = {field.name for each in (kind, *self.parts.settings()) for field in fields(each)}
        raise_if_any("an outbox has no settings of these names", settings.keys() - known)
        dependencies = Dependencies(effect_ports=ports, queries={}, constants=values)
        self.bound = bind(table, dependencies, transaction="session")
        made = _made_by(session)
        wrong = [each.name for each in self.bound.events.values() if not _suits(each, made)]
        raise_if_any(OF_ANOTHER_KIND.format(type(made).__name__), wrong)

    @cached_property
    def envelopes(self) -> EnvelopeFactory:
        """What makes envelopes of its events."""
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
        raise WiringError(f"`{name}` of an outbox is {said}; this is none", repr(given))


def _made_by(new_session: Callable[..., AsyncSession]) -> AsyncSession:
    """Return a session as handlers will have, but without a connection.

    :raises WiringError: if it is one of synchronous code
    """
    made = new_session(bind=None)
    if not isinstance(made, AsyncSession):
        problem = "`session` of an outbox is AsyncSession, or an async_sessionmaker; this makes"
        raise WiringError(problem, repr(made))
    return made


def _suits(handler: BoundHandler, session: AsyncSession) -> bool:
    """Tell whether a handler can have such a session, as far as its annotation is read."""
    try:
        said = types_of(handler.handler, "session", object)
        return Any in said or isinstance(session, tuple(said))
    except Exception:  # of a type that only a checker imports or knows
        return True
