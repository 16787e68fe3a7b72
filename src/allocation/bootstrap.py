"""The composition root: gives the engine what it needs to know, and handlers what they ask for.

It does not know which handlers there are: `entrypoints/app.py` names their table.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from aftercommit import App, Application, Database, Handlers, Observer, open_application

from allocation import views
from allocation.adapters.bounce_reporting_mailer import BounceReportingMailer
from allocation.adapters.orm import start_mappers
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from allocation.config import Settings
from allocation.service_layer.ports import EmailSender


def bootstrap(
    app: App[Any],
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    handlers: Handlers[object, object] | None = None,
    notifications: EmailSender | None = None,
    delivers: bool = True,
) -> AbstractAsyncContextManager[Application]:
    """Open everything the settings ask for, and close it at the end, even if cancelled.

    A process that `delivers`, that is, runs the handlers of events, needs a way to send e-mails:
    the settings', or other `notifications`.

    :raises InvalidValue: if a setting is wrong
    :raises Unavailable: if the database cannot be used as it is
    """
    start_mappers()

    def effect_ports(
        database: Database, offered: Mapping[str, Callable[[], Any]]
    ) -> Mapping[str, Any]:
        sender = notifications or offered["notifications"]()
        is_undeliverable = partial(views.is_undeliverable, database)
        mailer = BounceReportingMailer(sender, is_undeliverable) if sender else None
        return {"notifications": sender, "user_mail": mailer}

    return open_application(
        app,
        settings,
        SqlAlchemyUnitOfWork,
        handlers=handlers,
        effect_ports=effect_ports,
        queries={
            "find_contact": views.find_contact,
            "find_coupon_holder": views.find_coupon_holder,
        },
        constants={
            "marketing_email": settings.marketing_email,
        },
        observers=observers,
        delivers=delivers,
    )
