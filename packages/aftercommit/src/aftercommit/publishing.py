"""The mark of public events, and the handlers that stand for it: one for each message broker."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from aftercommit.envelopes import Envelope
from aftercommit.ports import Publisher


class Publish:
    """Stands for a handler for each message broker, which publishes the event there.

    So each has deliveries of its own, and a broker that is away delays no other.
    """


PUBLISH = Publish()
"""In the table: the event is public.

>>> from aftercommit import PUBLISH, Handlers, on
>>> from shop.domain.messages import OrderPlaced
>>> Handlers(commands=[], events=[on(OrderPlaced, PUBLISH)]).public_events
[<class 'shop.domain.messages.OrderPlaced'>]
"""


def publish_to(
    name: str, publisher: Publisher, keys: Mapping[type[Any], Callable[[Any], object]]
) -> Callable[..., Awaitable[None]]:
    """Return the handler for a broker of this name; it passes the key of each event."""

    async def publish(event: object, envelope: Envelope) -> None:
        """Publish the event there."""
        if key := keys.get(type(event)):
            envelope = replace(envelope, key=str(key(event)))
        await publisher.publish(envelope)

    publish.__name__ = f"publish_event_to_{name}"
    return publish
