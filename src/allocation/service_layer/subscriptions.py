"""Who subscribes to an event: what the table of handlers may say, and the names that are stored."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction

from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.service_layer.exceptions import WiringError

Handler = Callable[..., Awaitable[Command | None]]  # `BoundHandler` checks parameters


@dataclass(frozen=True, slots=True)
class Later:
    """A handler that is due only so long `after` the event was committed: a setting, in seconds.

    It is not cancelled by what happens meanwhile, it looks at the state of the world when it runs.
    """

    handler: Handler
    after: str


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A handler that gets no new deliveries, and still runs those that are stored."""

    handler: Handler


Subscriber = Handler | Later | Unsubscribed
EventHandlers = Mapping[type[Event], Iterable[Subscriber]]


def subscriptions(
    event_handlers: EventHandlers, settings: object
) -> dict[type[Event], dict[str, float]]:
    """Return the names of the handlers of each event, with their delays in seconds.

    :raises WiringError: if the table names a setting that there is not
    """
    return {
        event: {
            handler_name(handler_of(each)): _delay(each, settings)
            for each in subscribers
            if not isinstance(each, Unsubscribed)
        }
        for event, subscribers in event_handlers.items()
    }


def _delay(subscriber: Subscriber, settings: object) -> float:
    if not isinstance(subscriber, Later):
        return 0.0
    seconds: float | None = getattr(settings, subscriber.after, None)
    if seconds is None:
        raise WiringError("EVENT_HANDLERS names a setting that there is not", subscriber.after)
    return seconds


def by_name_of(event_handlers: EventHandlers) -> dict[str, Handler]:
    """Return all handlers by name.

    :raises WiringError: if two have one name, or an event has one twice: it has one delivery
    """
    by_name: dict[str, Handler] = {}
    for event_type, subscribers in event_handlers.items():
        handlers = [*map(handler_of, subscribers)]
        for name, handler in zip(map(handler_name, handlers), handlers, strict=True):
            if by_name.setdefault(name, handler) is not handler or handlers.count(handler) > 1:
                problem = f"for {event_type.__name__}, two handlers with one name, or one twice"
                raise WiringError(problem, name)
    return by_name


def handler_of(subscriber: Subscriber) -> Handler:
    """Return the handler itself."""
    return subscriber.handler if isinstance(subscriber, Later | Unsubscribed) else subscriber


def handler_name(handler: Handler) -> str:
    """Return the name, by which deliveries are known; what has none, or is not async, fails."""
    if iscoroutinefunction(handler) and (name := getattr(handler, "__name__", None)):
        return str(name)
    raise WiringError("handlers that are not made with `async def`", repr(handler))
