"""Publishing: the brokers are opened, and each gets a handler of its own. A part of bootstrap."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from itertools import chain
from pkgutil import resolve_name

from allocation.config import Settings
from allocation.domain.events import Event
from allocation.rooms import ROOMS
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.handlers import EVENT_HANDLERS, publish_event
from allocation.service_layer.ports import Publisher
from allocation.service_layer.wiring import EventHandlers, Handler


async def open_publishers(settings: Settings, opened: AsyncExitStack) -> dict[str, Publisher]:
    """Open what the rooms publish with, by name."""
    publishers: dict[str, Publisher] = {}
    for room in ROOMS.values():
        if room.publishers and room.settings:
            of_room = settings.of(resolve_name(room.settings))
            opening = resolve_name(room.publishers)(of_room, backend=settings.backend)
            publishers |= await opened.enter_async_context(opening)
    return publishers


def public_events() -> list[type[Event]]:
    """Return the events that are published."""
    return [event for event, handlers in EVENT_HANDLERS.items() if publish_event in handlers]


def publishing_to(
    table: EventHandlers, publishers: Mapping[str, Publisher]
) -> dict[type[Event], list[Handler]]:
    """Put one handler for each broker in the place of `publish_event`.

    So each has deliveries of its own, and a broker that is away delays no other.
    """
    in_place: dict[Handler, list[Handler]] = {
        publish_event: [_publish_to(*named) for named in publishers.items()]
    }
    return {
        event: [*chain.from_iterable(in_place.get(handler, [handler]) for handler in listed)]
        for event, listed in table.items()
    }


def _publish_to(name: str, publisher: Publisher) -> Handler:
    async def publish(event: Event, envelope: Envelope) -> None:
        await publish_event(event, envelope, publisher)

    publish.__name__ = f"{publish_event.__name__}_to_{name}"
    return publish
