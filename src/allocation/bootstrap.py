"""The composition root: opens, wires and closes everything. The only module that knows handlers."""

import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from inspect import signature
from typing import Any
from uuid import uuid4

import msgspec

from allocation.adapters.brokers import Broker, closing_all, new_brokers
from allocation.adapters.database import Database, open_database
from allocation.adapters.limits import Limits
from allocation.adapters.notifications import ConsoleNotifications, SmtpNotifications, SmtpServer
from allocation.adapters.orm import start_mappers
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.schema import ensure_schema
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from allocation.config import Settings
from allocation.domain import commands
from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.domain.exceptions import BrokerUnavailable, WiringError
from allocation.service_layer.delivery import Delivery, DeliveryPolicy, Envelope
from allocation.service_layer.handlers import (
    COMMAND_HANDLERS,
    EVENT_HANDLERS,
    RENAMED_HANDLERS,
    Handler,
    publish_event,
)
from allocation.service_layer.messagebus import BoundHandler, MessageBus, Observer, Registry
from allocation.service_layer.ports import Notifications, Outbox, Publisher
from allocation.service_layer.unit_of_work import Recording, UnitOfWork

MADE_FOR_EVERY_ATTEMPT = {"uow", "idempotency_key", "envelope"}

EventHandlers = Mapping[type[Event], Iterable[Handler]]


@dataclass(frozen=True, slots=True)
class Application:
    """What an entrypoint works with."""

    bus: MessageBus
    outbox: Outbox
    database: Database
    brokers: Sequence[Broker[Any]]


class SilentObserver:
    """Ignores what happens."""

    def executed(self, command: object, events: object) -> None:
        """Do nothing."""

    def delivered(self, delivery: object, events: object) -> None:
        """Do nothing."""


@asynccontextmanager
async def bootstrap(
    settings: Settings, *, observer: Observer | None = None
) -> AsyncIterator[Application]:
    """Open everything the settings ask for, and close it at the end, also when cancelled.

    :raises InvalidValue: if a setting is not acceptable
    :raises Unavailable: if the database cannot be used as it is
    """
    start_mappers()
    brokers = new_brokers(settings.broker_urls)
    dependencies = {
        "notifications": _notifications(settings),
        "marketing_email": settings.marketing_email,
        "new_token": lambda: secrets.token_hex(8).upper(),
    }
    policy = _policy(settings)
    owed_here = publishing_to(EVENT_HANDLERS, brokers)
    known_here = publishing_to(EVENT_HANDLERS, NOT_CONFIGURED | brokers)  # owed by others, too
    recording = Recording(
        subscriptions=subscriptions(owed_here),
        new_id=uuid4,
        now=lambda: datetime.now(UTC),
    )
    registry = bind_all(COMMAND_HANDLERS, known_here, RENAMED_HANDLERS, dependencies)
    async with (
        closing_all(list(brokers.values())),
        open_database(
            settings.database_url,
            connections=settings.pool_size,
            limits=Limits(settings.handler_timeout_seconds),
        ) as database,
    ):
        await ensure_schema(database)
        outbox = SqlAlchemyOutbox(database, policy)
        bus = MessageBus(
            registry=registry,
            recording=recording,
            new_uow=partial(SqlAlchemyUnitOfWork, database, policy, recording),
            outbox=outbox,
            policy=policy,
            random=random.random,
            observer=observer or SilentObserver(),
        )
        yield Application(bus, outbox, database, list(brokers.values()))


def published_language() -> str:
    """Return the AsyncAPI document, as JSON: what others may rely on."""
    from allocation.adapters import asyncapi  # only one command needs it

    public = [event for event, handlers in EVENT_HANDLERS.items() if publish_event in handlers]
    return msgspec.json.format(msgspec.json.encode(asyncapi.document(public))).decode()


def publishing_to(
    event_handlers: EventHandlers, publishers: Mapping[str, Publisher]
) -> dict[type[Event], list[Handler]]:
    """Put one handler for each broker in the place of `publish_event`.

    So each has deliveries of its own, and a broker that is away delays no other.
    """
    of_brokers = [_publish_event_to(name, publisher) for name, publisher in publishers.items()]
    return {
        event_type: [
            handler
            for listed in handlers
            for handler in (of_brokers if listed is publish_event else [listed])
        ]
        for event_type, handlers in event_handlers.items()
    }


def subscriptions(event_handlers: EventHandlers) -> dict[type[Event], list[str]]:
    """Return the names of the handlers of each event: each is one delivery."""
    return {
        event_type: [handler.__name__ for handler in handlers]
        for event_type, handlers in event_handlers.items()
    }


def bind_all(
    command_handlers: Mapping[type[Command], Handler],
    event_handlers: EventHandlers,
    renamed: Mapping[str, str],
    dependencies: Mapping[str, Any],
) -> Registry:
    """Bind every handler to its dependencies, once, so that mistakes show at start.

    :raises WiringError: if a handler asks for something unknown, two handlers have one name, an
        event has one handler twice, a command has none, or RENAMED_HANDLERS makes no sense
    """
    if missing := _command_types() - command_handlers.keys():
        raise WiringError("commands without a handler", *(c.__name__ for c in missing))
    by_name = {}
    for event_type, handlers in event_handlers.items():
        if twice := [h.__name__ for h, count in Counter(handlers).items() if count > 1]:
            raise WiringError(f"twice a handler of {event_type.__name__}", *twice)
    for handler in {h for handlers in event_handlers.values() for h in handlers}:
        if handler.__name__ in by_name:
            raise WiringError("two handlers with one name", handler.__name__)
        by_name[handler.__name__] = bind(handler, dependencies)
    if lost := set(renamed.values()) - by_name.keys():
        raise WiringError("RENAMED_HANDLERS leads to handlers that do not exist", *lost)
    if kept := renamed.keys() & by_name.keys():
        raise WiringError("RENAMED_HANDLERS renames handlers that still exist", *kept)
    return Registry(
        commands={c: bind(h, dependencies) for c, h in command_handlers.items()},
        events=by_name | {old: by_name[new] for old, new in renamed.items()},
    )


def bind(handler: Handler, dependencies: Mapping[str, Any]) -> BoundHandler:
    """Give a handler what its parameters, after the message, ask for by name.

    :raises WiringError: if it asks for something unknown
    """
    wanted = list(signature(handler).parameters)[1:]
    if unknown := set(wanted) - dependencies.keys() - MADE_FOR_EVERY_ATTEMPT:
        raise WiringError(f"{handler.__name__} asks for what nobody provides", *unknown)
    bound = partial(
        handler, **{name: dependencies[name] for name in wanted if name in dependencies}
    )
    made = MADE_FOR_EVERY_ATTEMPT & set(wanted)

    async def run(message: Command | Event, uow: UnitOfWork, delivery: Delivery | None) -> None:
        offered = {
            "uow": uow,
            "idempotency_key": delivery and delivery.idempotency_key,
            "envelope": delivery and delivery.envelope,
        }
        await bound(message, **{name: offered[name] for name in made})

    return run


def _command_types() -> set[type[Command]]:
    return {
        member
        for member in vars(commands).values()
        if isinstance(member, type) and issubclass(member, Command) and member is not Command
    }


class NotConfigured:
    """Stands for a broker that another process knows: its deliveries fail, and are tried again."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def publish(self, envelope: Envelope) -> None:
        """Fail.

        :raises BrokerUnavailable: always
        """
        raise BrokerUnavailable(self._name, "it is not in ALLOCATION_BROKER_URL of this process")


NOT_CONFIGURED: dict[str, Publisher] = {
    name: NotConfigured(name)
    for kind in ("rabbitmq", "kafka")
    for name in (kind, *(f"{kind}_{number}" for number in range(2, 10)))
}


def _publish_event_to(name: str, publisher: Publisher) -> Handler:
    async def publish(event: Event, envelope: Envelope) -> None:
        await publish_event(event, envelope, publisher)

    publish.__name__ = f"{publish_event.__name__}_to_{name}"
    return publish


def _notifications(settings: Settings) -> Notifications:
    if settings.smtp_url is None:
        return ConsoleNotifications()
    return SmtpNotifications(SmtpServer.from_url(settings.smtp_url), sender=settings.sender_email)


def _policy(settings: Settings) -> DeliveryPolicy:
    return DeliveryPolicy(
        inline=settings.dispatch == "inline",
        lease=settings.lease_seconds,
        handler_timeout=settings.handler_timeout_seconds,
        retry_base=settings.retry_base_seconds,
        retry_factor=settings.retry_factor,
        retry_cap=settings.retry_cap_seconds,
        max_attempts=settings.max_attempts,
    )
