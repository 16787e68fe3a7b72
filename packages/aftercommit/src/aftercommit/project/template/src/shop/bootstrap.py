"""The composition root: configures the engine, and gives handlers what they ask for."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from aftercommit import App, Application, Codec, Observer, message_types, open_application

from shop import views
from shop.adapters.orm import start_mappers
from shop.adapters.repositories import unit_of_work
from shop.config import Settings
from shop.domain import messages
from shop.domain.bases import Event
from shop.service_layer.ports import EmailSender

EVENTS = message_types(messages, Event)
CODEC: Codec[Event] = Codec(source="/shop", events=EVENTS)


def bootstrap(
    app: App[Any],
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    delivers: bool = True,
    emails: EmailSender | None = None,
) -> AbstractAsyncContextManager[Application]:
    """Open everything the settings ask for, and close it at the end.

    Handlers that ask for `emails` get the extension's port, unless a test passes its own.

    :raises InvalidValue: if a setting is wrong
    :raises Unavailable: if the database cannot be used as it is
    """
    start_mappers()
    return open_application(
        app,
        settings,
        unit_of_work,
        effect_ports={"emails": emails} if emails else {},
        queries={"is_cancelled": views.is_cancelled},
        observers=observers,
        delivers=delivers,
    )
