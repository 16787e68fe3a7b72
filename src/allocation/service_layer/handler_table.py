"""What handles what: the table of an application, whose rows a type checker can judge.

Handlers are bound to what they ask for in `handler_binding.py`.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Any, Concatenate, Generic, TypeVar

from allocation.domain.commands import Command
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.exceptions import WiringError
from allocation.service_layer.ports import Publisher

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)

Handler = Callable[
    Concatenate[M, ...], Awaitable[Command | None]
]  # further parameters: see `Dependencies`


@dataclass(frozen=True, slots=True)
class Later(Generic[M_contra]):
    """A handler that is due only so long `after` the event was committed.

    The delay is a fixed time, or a function of the settings, in seconds. Such a handler is not
    cancelled by what happens meanwhile, it looks at the state of the world when it runs.
    """

    handler: Handler[M_contra]
    after: timedelta | Callable[[Any], float]


@dataclass(frozen=True, slots=True)
class Unsubscribed(Generic[M_contra]):
    """A handler that gets no new deliveries, and still runs those that are stored."""

    handler: Handler[M_contra]


class Publish:
    """Stands for a handler for each message broker, which publishes the event there.

    So each has deliveries of its own, and a broker that is away delays no other.
    """


PUBLISH = Publish()
"""In the table: the event is public."""


Row = tuple[type[Any], tuple[Any, ...]]


def on(message: type[M], *handlers: Handler[M] | Later[M] | Unsubscribed[M] | Publish) -> Row:
    """Return a row of the table: a command has one handler, an event any number of them."""
    return message, handlers


class Handlers:
    """The table of an application: what handles its commands and events.

    `projections` are those handlers of events that only write a read model from what is stored now:
    doing it again does no harm. `renamed` has the old names of handlers, and what each is called
    now: for deliveries that were stored before.

    :raises WiringError: if a message has two rows, or a command not one handler
    """

    def __init__(
        self,
        *,
        commands: Sequence[Row],
        events: Sequence[Row],
        projections: Collection[Handler[Any]] = (),
        renamed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        messages = Counter(message for message, _ in (*commands, *events))
        twice = [message.__name__ for message, count in messages.items() if count > 1]
        raise_if_any("messages with two rows", twice)
        many = [message.__name__ for message, handlers in commands if len(handlers) != 1]
        raise_if_any("commands that have not one handler", many)
        self.commands: dict[type[Any], Handler[Any]] = {c: handler for c, (handler,) in commands}
        self.events: dict[type[Any], Sequence[Any]] = dict(events)
        self.projections, self.renamed = projections, renamed

    @property
    def public_events(self) -> list[type[Any]]:
        """The events that are published."""
        return [event for event, listed in self.events.items() if PUBLISH in listed]

    def publishing_to(self, publishers: Mapping[str, Publisher]) -> "Handlers":
        """Return the table with handlers for these brokers, by name, in the place of `PUBLISH`."""
        to_each = [_publish_to(*named) for named in publishers.items()]
        table = copy(self)
        table.events = {
            event: [each for one in listed for each in (to_each if one is PUBLISH else [one])]
            for event, listed in self.events.items()
        }
        return table

    def subscriptions(self, settings: object) -> dict[type[Any], dict[str, float]]:
        """Return the names of the handlers of each event, with their delays in seconds."""
        return {
            event: {
                handler_name(handler_of(each)): _delay(each, settings)
                for each in listed
                if not isinstance(each, Unsubscribed | Publish)
            }
            for event, listed in self.events.items()
        }

    def by_name(self) -> dict[str, Handler[Any]]:
        """Return all handlers of events by name.

        :raises WiringError: if two have one name, or an event has one twice: it has one delivery
        """
        by_name: dict[str, Handler[Any]] = {}
        for event, listed in self.events.items():
            handlers = [handler_of(each) for each in listed if each is not PUBLISH]
            for name, handler in zip(map(handler_name, handlers), handlers, strict=True):
                if by_name.setdefault(name, handler) is not handler or handlers.count(handler) > 1:
                    problem = f"for {event.__name__}, two handlers with one name, or one twice"
                    raise WiringError(problem, name)
        return by_name


def handler_of(subscriber: Any) -> Handler[Any]:
    """Return the handler itself."""
    handler: Handler[Any] = getattr(subscriber, "handler", subscriber)
    return handler


def handler_name(handler: Handler[Any]) -> str:
    """Return the name, by which deliveries are known; what has none, or is not async, fails."""
    if iscoroutinefunction(handler) and (name := getattr(handler, "__name__", None)):
        return str(name)
    raise WiringError("handlers that are not made with `async def`", repr(handler))


def raise_if_any(problem: str, names: Collection[str]) -> None:
    """Raise WiringError about these names, if there are any."""
    if names:
        raise WiringError(problem, *names)


def _delay(subscriber: object, settings: object) -> float:
    if not isinstance(subscriber, Later):
        return 0.0
    after: timedelta | Callable[[Any], float] = subscriber.after
    try:
        return after.total_seconds() if isinstance(after, timedelta) else after(settings)
    except AttributeError as error:
        raise WiringError("a delay asks for a setting that there is not", str(error)) from error


def _publish_to(name: str, publisher: Publisher) -> Handler[Any]:
    async def publish(event: object, envelope: Envelope) -> None:
        """Publish the event there."""
        await publisher.publish(envelope)

    publish.__name__ = f"publish_event_to_{name}"
    return publish
