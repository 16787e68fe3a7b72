"""Publishing: each broker gets a handler of its own. A part of bootstrap."""

from collections.abc import Mapping

from allocation.domain.events import Event
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.handlers import EVENT_HANDLERS, publish_event
from allocation.service_layer.ports import Publisher
from allocation.service_layer.subscriptions import EventHandlers, Handler, Subscriber


def public_events() -> list[type[Event]]:
    """Return the events that are published."""
    return [event for event, handlers in EVENT_HANDLERS.items() if publish_event in handlers]


def publishing_to(
    table: EventHandlers, publishers: Mapping[str, Publisher]
) -> dict[type[Event], list[Subscriber]]:
    """Put one handler for each broker in the place of `publish_event`.

    So each has deliveries of its own, and a broker that is away delays no other.
    """
    to_each = [_publish_to(*named) for named in publishers.items()]
    return {
        event: [each for one in listed for each in (to_each if one is publish_event else [one])]
        for event, listed in table.items()
    }


def _publish_to(name: str, publisher: Publisher) -> Handler:
    async def publish(event: Event, envelope: Envelope) -> None:
        await publish_event(event, envelope, publisher)

    publish.__name__ = f"{publish_event.__name__}_to_{name}"
    return publish
