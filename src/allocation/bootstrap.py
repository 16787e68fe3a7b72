"""The composition root: opens, wires and closes all. It and `publishing.py` know the handlers."""

import random
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pkgutil import resolve_name
from uuid import uuid4

from allocation.adapters import wire
from allocation.adapters.database import Database, open_database
from allocation.adapters.orm import start_mappers
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.repository import reading
from allocation.adapters.schema import ensure_schema
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from allocation.config import Settings
from allocation.domain.exceptions import InvalidValue
from allocation.publishing import open_publishers, publishing_to
from allocation.rooms import MAIL, MAIL_FORMS, ROOMS
from allocation.service_layer import handlers, wiring
from allocation.service_layer.delivery import DeliveryPolicy
from allocation.service_layer.envelopes import EnvelopeFactory
from allocation.service_layer.facts import Observer, observed
from allocation.service_layer.messagebus import MessageBus
from allocation.service_layer.ports import Notifications, Outbox, Publisher


@dataclass(frozen=True, slots=True)
class Application:
    """What an entrypoint works with; `handlers` names all of events, also those it cannot run."""

    bus: MessageBus
    outbox: Outbox
    database: Database
    publishers: Mapping[str, Publisher]
    handlers: Collection[str]


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
    async with AsyncExitStack() as opened:
        publishers = await open_publishers(settings, opened)
        of_rooms = [room.observer for room in ROOMS.values() if room.observer]
        observing = [*observers, *(opened.enter_context(resolve_name(o)()) for o in of_rooms)]
        database = await opened.enter_async_context(
            open_database(
                settings.database_url,
                connections=settings.pool_size,
                handler_timeout=settings.handler_timeout_seconds,
                process_name=settings.process_name,
            )
        )
        seen = {name: observed(observing, name, outside) for name, outside in publishers.items()}
        event_handlers = publishing_to(handlers.EVENT_HANDLERS, seen)
        subscriptions = wiring.subscriptions(event_handlers)
        factory = EnvelopeFactory(subscriptions=subscriptions, new_id=uuid4, now=_now)
        notifications = notifications and observed(observing, "notifications", notifications)
        registry = _registry(event_handlers, _dependencies(settings, database, notifications))
        await ensure_schema(database)
        policy = _policy(settings)
        outbox = SqlAlchemyOutbox(database, policy)
        bus = MessageBus(
            registry=registry,
            envelope_factory=factory,
            new_uow=partial(SqlAlchemyUnitOfWork, outbox, factory),
            outbox=outbox,
            policy=policy,
            random=random.random,
            observers=observing,
        )
        names = {*chain(*subscriptions.values()), *handlers.RENAMED_HANDLERS}
        yield Application(bus, outbox, database, publishers, names)


def _registry(
    event_handlers: wiring.EventHandlers, dependencies: wiring.Dependencies
) -> wiring.Registry:
    wiring.check_complete(event_handlers)
    commands, renamed = handlers.COMMAND_HANDLERS, handlers.RENAMED_HANDLERS
    wire.check([*commands, *event_handlers])
    return wiring.bind_all(commands, event_handlers, renamed, dependencies)


def _dependencies(
    settings: Settings, database: Database, notifications: Notifications | None
) -> wiring.Dependencies:
    return wiring.Dependencies(
        outside_ports={"notifications": notifications},
        values={
            "reading": partial(reading, database),
            "marketing_email": settings.marketing_email,
            "new_token": lambda: secrets.token_hex(8).upper(),
            "now": _now,
        },
    )


def _notifications(settings: Settings, *, delivers: bool) -> Notifications | None:
    folder = settings.mail_folder
    if url := f"maildir:{folder}" if folder else settings.mail_url:
        scheme = url.partition(":")[0].lower()
        if scheme not in MAIL:
            raise InvalidValue("mail URL", f"is not of the form {MAIL_FORMS}")
        notifications: Notifications = resolve_name(MAIL[scheme])(url, sender=settings.sender_email)
        return notifications
    if delivers:
        raise InvalidValue(
            "ALLOCATION_MAIL_URL",
            f"is not set: name {MAIL_FORMS}; only beside a SQLite file there is a folder by itself",
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


def _now() -> datetime:
    return datetime.now(UTC)
