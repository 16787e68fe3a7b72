"""The composition root: gives the engine what it needs to know, and handlers what they ask for.

It does not know which handlers there are: `entrypoints/app.py` names their table.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any

from aftercommit import (
    App,
    Application,
    Codec,
    Database,
    Handlers,
    Observer,
    message_types,
    open_application,
)

from allocation import views
from allocation.adapters.email_sender import TranslatingEmailSender
from allocation.adapters.orm import start_mappers
from allocation.adapters.repositories import unit_of_work
from allocation.config import Settings
from allocation.domain import events
from allocation.service_layer.ports import EmailSender

UPCASTERS = {
    # the worked example: version 1 had no name
    ("user_registered", 1): lambda old: {**old, "name": str(old["email"]).partition("@")[0]}
}

DESCRIBED = {
    "name": "{}",
    "email": "<{}>",
    "old_email": "{} →",
    "new_email": "{}",
    "batch_reference": "{}",
    "reference": "{}",
    "quantity": "{}",
}


def describe(message: Any) -> str:
    """Say whom and what a message is about, without a coupon's code, which is money."""
    found = asdict(message)
    return " ".join(form.format(found[name]) for name, form in DESCRIBED.items() if name in found)


CODEC: Codec[events.Event] = Codec(
    source="/allocation",
    events=message_types(events, events.Event),
    upcasters=UPCASTERS,
    describe=describe,
)
"""How messages are written and read: the names and versions of events, and their old forms."""


def bootstrap(
    app: App[Any],
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    handlers: Handlers[object, object] | None = None,
    notifications: EmailSender | None = None,
    delivers: bool = True,
) -> AbstractAsyncContextManager[Application]:
    """Open everything that the settings name, and close it at the end, even if cancelled.

    A process that `delivers`, that is, runs the handlers of events, needs a way to send e-mails:
    the one in the settings, or `notifications`.

    :raises InvalidValue: if a setting is wrong
    :raises Unavailable: if the database cannot be used as it is
    """
    start_mappers()

    def effect_ports(
        database: Database, offered: Mapping[str, Callable[[], Any]]
    ) -> Mapping[str, Any]:
        sender = notifications or offered["notifications"]()
        return {"notifications": TranslatingEmailSender(sender) if sender else None}

    return open_application(
        app,
        settings,
        unit_of_work,
        handlers=handlers,
        effect_ports=effect_ports,
        queries={
            "find_contact": views.find_contact,
            "find_coupon_holder": views.find_coupon_holder,
        },
        constants={"marketing_email": settings.marketing_email},
        observers=observers,
        delivers=delivers,
    )
