"""The composition root: opens, wires and closes everything. The only module that knows handlers."""

import random
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pkgutil import resolve_name
from uuid import uuid4

from allocation.adapters import wire
from allocation.adapters.database import Database, open_database
from allocation.adapters.orm import start_mappers
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.schema import ensure_schema
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork, reading
from allocation.config import Settings
from allocation.domain.events import Event
from allocation.domain.exceptions import InvalidValue
from allocation.rooms import MAIL, ROOMS
from allocation.service_layer.delivery import DeliveryPolicy
from allocation.service_layer.envelopes import Envelope, EnvelopeFactory
from allocation.service_layer.facts import Observer
from allocation.service_layer.handlers import (
    COMMAND_HANDLERS,
    EVENT_HANDLERS,
    RENAMED_HANDLERS,
    publish_event,
)
from allocation.service_layer.messagebus import MessageBus
from allocation.service_layer.ports import Notifications, Outbox, Publisher
from allocation.service_layer.wiring import (
    Dependencies,
    EventHandlers,
    Handler,
    bind_all,
    check_complete,
    subscriptions,
)


@dataclass(frozen=True, slots=True)
class Application:
    """What an entrypoint works with."""

    bus: MessageBus
    outbox: Outbox
    database: Database
    publishers: Mapping[str, Publisher]
    handlers: Collection[str]
    """The names of all handlers of events, also of those that this process cannot run."""


@asynccontextmanager
async def bootstrap(
    settings: Settings, *, observers: Sequence[Observer] = (), delivers: bool = True
) -> AsyncIterator[Application]:
    """Open everything the settings ask for, and close it at the end, also when cancelled.

    What `delivers`, and so runs the handlers of events, needs a place for its e-mails.

    :raises InvalidValue: if a setting is not acceptable
    :raises Unavailable: if the database cannot be used as it is
    """
    start_mappers()
    notifications = _notifications(settings, delivers=delivers)
    policy = _policy(settings)
    async with (
        _publishing(settings) as publishers,
        _observing() as of_rooms,
        open_database(
            settings.database_url,
            connections=settings.pool_size,
            handler_timeout=settings.handler_timeout_seconds,
        ) as database,
    ):
        event_handlers = publishing_to(EVENT_HANDLERS, publishers)
        check_complete(event_handlers)
        wire.check([*COMMAND_HANDLERS, *event_handlers])
        envelope_factory = EnvelopeFactory(
            subscriptions=subscriptions(event_handlers),
            new_id=uuid4,
            now=lambda: datetime.now(UTC),
        )
        await ensure_schema(database)
        outbox = SqlAlchemyOutbox(database, policy)
        dependencies = _dependencies(settings, database, notifications)
        bus = MessageBus(
            registry=bind_all(COMMAND_HANDLERS, event_handlers, RENAMED_HANDLERS, dependencies),
            envelope_factory=envelope_factory,
            new_uow=partial(SqlAlchemyUnitOfWork, database, policy, envelope_factory),
            outbox=outbox,
            policy=policy,
            random=random.random,
            observers=[*observers, *of_rooms],
        )
        names = {name for names in envelope_factory.subscriptions.values() for name in names}
        known = names | RENAMED_HANDLERS.keys()
        yield Application(bus, outbox, database, publishers, known)


def public_events() -> list[type[Event]]:
    """Return the events that are published."""
    return [event for event, handlers in EVENT_HANDLERS.items() if publish_event in handlers]


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


def _publish_event_to(name: str, publisher: Publisher) -> Handler:
    async def publish(event: Event, envelope: Envelope) -> None:
        await publish_event(event, envelope, publisher)

    publish.__name__ = f"{publish_event.__name__}_to_{name}"
    return publish


def _dependencies(
    settings: Settings, database: Database, notifications: Notifications | None
) -> Dependencies:
    return Dependencies(
        outside_ports={"notifications": notifications},
        values={
            "reading": partial(reading, database),
            "marketing_email": settings.marketing_email,
            "new_token": lambda: secrets.token_hex(8).upper(),
            "today": lambda: datetime.now(UTC).date(),
        },
    )


@asynccontextmanager
async def _publishing(settings: Settings) -> AsyncIterator[Mapping[str, Publisher]]:
    """Open what the rooms publish with, by name, and close it at the end."""
    publishers: dict[str, Publisher] = {}
    async with AsyncExitStack() as stack:
        for room in ROOMS.values():
            if room.publishers and room.settings:
                of_room = settings.of(resolve_name(room.settings))
                opening = resolve_name(room.publishers)(of_room, backend=settings.backend)
                publishers |= await stack.enter_async_context(opening)
        yield publishers


@asynccontextmanager
async def _observing() -> AsyncIterator[Sequence[Observer]]:
    """Begin what the rooms observe with, and end it at the end."""
    with ExitStack() as stack:
        names = [room.observer for room in ROOMS.values() if room.observer]
        yield [stack.enter_context(resolve_name(name)()) for name in names]


def _notifications(settings: Settings, *, delivers: bool) -> Notifications | None:
    folder = settings.mail_folder
    if url := f"maildir:{folder}" if folder else settings.mail_url:
        scheme = url.partition(":")[0].lower()
        if scheme not in MAIL:
            forms = " or ".join(f"{known}:…" for known in MAIL)
            raise InvalidValue("mail URL", f"is not of the form {forms}")
        notifications: Notifications = resolve_name(MAIL[scheme])(url, sender=settings.sender_email)
        return notifications
    if delivers:
        raise InvalidValue(
            "ALLOCATION_MAIL_URL",
            "is not set: name a mail server (smtp://user:password@host:port) or a folder to keep "
            "e-mails in (maildir:FOLDER); only beside a SQLite file there is one by itself",
        )
    return None


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
