"""An outbox as the command line, its commands and the worker know applications."""

import os
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, ClassVar
from uuid import uuid4

import click
from anyio import Semaphore
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from aftercommit.bus import MessageBus
from aftercommit.codec import Codec, Upcasters
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.handler_binding import BoundHandlers, Dependencies, bind
from aftercommit.handler_table import Handlers, Row
from aftercommit.observers import CompositeObserver, ObservedPort, Observer
from aftercommit.outbox.handler_session import open_session
from aftercommit.ports import Publisher
from aftercommit.process.app import App
from aftercommit.process.application import Application
from aftercommit.process.extension import Extension, Extensions
from aftercommit.settings import EngineSettings, load
from aftercommit.sql.outbox import new_outbox
from aftercommit.sql.schema import ensure_schema


class OutboxApp(App[EngineSettings]):
    """The application of which an outbox is all that the engine knows."""

    program = "aftercommit"
    commands: ClassVar = {}

    def __init__(
        self,
        name: str,
        database_url: str,
        events: Sequence[Row[object, None]],
        *,
        ports: Mapping[str, Any],
        values: Mapping[str, Any],
        session: Callable[..., AsyncSession],
        upcasters: Upcasters,
        aliases: Mapping[type[Any], str],
        renamed: Mapping[str, str],
        extensions: Sequence[Extension],
        settings: Mapping[str, Any],
    ) -> None:
        url = make_url(database_url)
        url = url.set(drivername=url.get_backend_name())  # ours may be another driver
        self.default_database_url = url.render_as_string(hide_password=False)  # type: ignore[misc]
        self.name, self.summary = name, f"Deliver the events of {name}."  # type: ignore[misc]
        self.extensions = Extensions(extensions)  # type: ignore[misc]
        self._overrides = settings
        named = {"application": name, "__slots__": ()}
        self._kind: type[EngineSettings] = type("Settings", (EngineSettings,), named)
        self._session, self._ports, self._values = session, ports, values
        self._handlers = Handlers[Any, Any](commands=[], events=events, renamed=renamed)
        types = [row.message for row in events]
        self._codec = Codec[Any](
            source=f"/{name}", events=types, upcasters=upcasters, aliases=aliases
        )
        self.bound = self._bind(self._handlers, ports)

    def handlers(self) -> Handlers[Any, Any]:
        return self._handlers

    def codec(self) -> Codec[Any]:
        return self._codec

    def command(self, name: str) -> click.Command:
        raise KeyError(name)

    @cached_property
    def envelopes(self) -> EnvelopeFactory:
        """What makes envelopes of its events."""
        return EnvelopeFactory(
            codec=self._codec,
            subscriptions=self._handlers.subscriptions(self.load({})),
            new_id=uuid4,
            now=partial(datetime.now, UTC),
        )

    def load(self, overrides: Mapping[str, Any]) -> EngineSettings:
        def find(variable: str) -> str | None:
            default = self.default_database_url if variable == url else None
            return os.environ.get(variable) or default

        url = self._kind.variable("database_url")
        return load(
            self._kind,
            {**self._overrides, **{k: v for k, v in overrides.items() if v is not None}},
            self.extensions.env_lookup(find),
            of_extensions=self.extensions.settings(),
            log_formats=self.extensions.log_formats,
        )

    @asynccontextmanager
    async def open(
        self, settings: EngineSettings, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AsyncIterator[Application]:
        async with AsyncExitStack() as opened:
            publishers, watching = dict[str, Publisher](), [*observers]
            for extension in self.extensions:
                publishers |= await opened.enter_async_context(extension.publishers(settings))
                if observer := extension.observer(settings):
                    watching.append(opened.enter_context(observer))
            instrumentation = CompositeObserver(watching)
            database = await opened.enter_async_context(self.open_database(settings))
            await ensure_schema(database)
            observed = partial(ObservedPort, instrumentation)
            ports = {name: observed(name, port) for name, port in self._ports.items()}
            table = self._handlers.publishing_to(publishers)
            outbox = new_outbox(database, settings)
            bus = MessageBus(
                registry=self._bind(table, ports),
                new_uow=partial(open_session, outbox, self._session),
                outbox=outbox,
                policy=settings,
                slots=Semaphore(settings.worker_concurrency, fast_acquire=True),
                envelopes=self.envelopes,
                random=random.random,
                instrumentation=instrumentation,
            )
            names = {name: name for name in table.by_name()} | dict(table.renamed)
            yield Application(bus, database, publishers, names)

    def reporter(self, settings: EngineSettings) -> Observer:
        return Observer()

    def _bind(self, table: Handlers[Any, Any], ports: Mapping[str, Any]) -> BoundHandlers:
        dependencies = Dependencies(effect_ports=ports, queries={}, constants=self._values)
        return bind(table, dependencies, transaction="session")
