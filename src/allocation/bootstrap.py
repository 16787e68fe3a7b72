"""The composition root: opens, wires, closes all. Nothing else knows the handlers."""

import random
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from aftercommit import (
    App,
    Application,
    Dependencies,
    EnvelopeFactory,
    Handlers,
    InvalidValue,
    MessageBus,
    Observer,
    bind,
    ensure_schema,
    new_delivery_store,
    open_resources,
    open_unit_of_work,
)
from anyio import Semaphore

from allocation import views
from allocation.adapters.maildir import MaildirEmailSender
from allocation.adapters.orm import start_mappers
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from allocation.config import MAIL_URLS, Settings
from allocation.service_layer.ports import EmailSender
from allocation.service_layer.user_mailer import UserMailer


@asynccontextmanager
async def bootstrap(
    app: App[Any],
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    handlers: Handlers[object, object] | None = None,
    notifications: EmailSender | None = None,
    delivers: bool = True,
) -> AsyncIterator[Application]:
    """Open everything the settings ask for, and close it at the end, also when cancelled.

    What `delivers`, and so runs the handlers of events, needs a place for its e-mails: where the
    settings say, or other `notifications`.

    :raises InvalidValue: if a setting is not acceptable
    :raises Unavailable: if the database cannot be used as it is
    """
    start_mappers()
    now = partial(datetime.now, UTC)
    notifications = notifications or _notifications(settings, delivers=delivers)
    opening = open_resources(app, settings, observers=observers)
    async with opening as (database, publishers, instrumentation):
        port = instrumentation.port
        to_publish = {name: port(name, publisher) for name, publisher in publishers.items()}
        table = (handlers or app.handlers()).publishing_to(to_publish)
        user_mail = notifications and UserMailer(
            notifications, partial(views.is_undeliverable, database)
        )
        dependencies = Dependencies(
            effect_ports={
                "notifications": notifications and port("notifications", notifications),
                "user_mail": user_mail and port("notifications", user_mail),
            },
            queries={
                "find_contact": partial(views.find_contact, database),
                "find_coupon_holder": partial(views.find_coupon_holder, database),
            },
            constants={
                "marketing_email": settings.marketing_email,
                "new_token": lambda: secrets.token_hex(8).upper(),
                "now": now,
            },
        )
        registry = bind(table, dependencies)
        await ensure_schema(database, new_uow=SqlAlchemyUnitOfWork)
        envelopes = EnvelopeFactory(
            codec=app.codec(), subscriptions=table.subscriptions(settings), new_id=uuid4, now=now
        )
        delivery_store = new_delivery_store(database, settings)
        at_once = max(settings.max_handlers, settings.worker_concurrency)
        bus = MessageBus(
            registry=registry,
            new_uow=partial(open_unit_of_work, delivery_store, SqlAlchemyUnitOfWork),
            delivery_store=delivery_store,
            policy=settings,
            slots=Semaphore(at_once, fast_acquire=True),
            envelopes=envelopes,
            random=random.random,
            instrumentation=instrumentation,
        )
        names = {name: name for name in table.by_name()} | dict(table.renamed)
        projections = [projection.__name__ for projection in table.projections]
        yield Application(bus, database, publishers, names, projections)


def _notifications(settings: Settings, *, delivers: bool) -> EmailSender | None:
    folder, url, sender = settings.mail_folder, settings.mail_url, settings.mail_from
    if folder:
        return MaildirEmailSender(Path(folder), sender=sender)
    if url:
        from allocation.adapters.smtp.email_sender import SmtpEmailSender
        from allocation.adapters.smtp.smtp_url import SmtpServer

        return SmtpEmailSender(SmtpServer.from_url(url), sender=sender)
    if delivers:
        raise InvalidValue(
            "ALLOCATION_MAIL_URL",
            f"is not set, and has no default but beside a SQLite file: {MAIL_URLS}",
        )
    return None
