"""What handles what: the table of an application, whose rows a type checker can judge.

Handlers are bound to what they ask for in `handler_binding.py`.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Any, ClassVar, Concatenate, Generic, Protocol, Self, TypeVar

from typing_extensions import TypeVar as WithDefault

from aftercommit.envelopes import Subscription
from aftercommit.errors import WiringError
from aftercommit.errors import raise_if_any as raise_if_any
from aftercommit.ports import Publisher
from aftercommit.publishing import PUBLISH as PUBLISH
from aftercommit.publishing import Publish, publish_to


class Message(Protocol):
    """A dataclass, which the base of all commands or events is not.

    So a type checker takes the type of a row from its message, and not from the base.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]


M = TypeVar("M", bound=Message)
T = TypeVar("T")
A = WithDefault("A", default=None)  # a handler that returns no command
M_co = TypeVar("M_co", covariant=True)
M_contra = TypeVar("M_contra", contravariant=True)
A_co = WithDefault("A_co", covariant=True, default=None)
C_co = TypeVar("C_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)

Handler = Callable[Concatenate[T, ...], Awaitable[A | None]]
"""Handles a T, and may return a command, an A. Further parameters: see `Dependencies`."""


@dataclass(frozen=True, slots=True)
class Later(Generic[M_contra, A_co]):
    """A handler that is due only so long `after` the event was committed.

    The delay is a fixed time, or a function of the settings, in seconds. Such a handler is not
    cancelled by what happens meanwhile, it looks at the state of the world when it runs.

    >>> from datetime import timedelta
    >>> from aftercommit import Handlers, Later, on
    >>> from shop.domain.messages import OrderPlaced
    >>> async def ask_for_feedback(event: OrderPlaced) -> None:
    ...     print("How was it?")
    >>> row = on(OrderPlaced, Later(ask_for_feedback, after=timedelta(days=7)))
    >>> Handlers(commands=[], events=[row]).subscriptions(None)[OrderPlaced]
    {'ask_for_feedback': Subscription(delay=604800.0, lane=None, key=None)}
    """

    handler: Handler[M_contra, A_co]
    after: timedelta | Callable[[Any], float]

    def __post_init__(self) -> None:
        if not (isinstance(self.after, timedelta) or callable(self.after)):
            raise WiringError("a delay is no timedelta or function of settings", repr(self.after))
        if isinstance(self.after, timedelta) and self.after < timedelta():
            raise WiringError("a delay is negative; say how long after the event", str(self.after))


@dataclass(frozen=True, slots=True)
class Ordered(Generic[M_contra, A_co]):
    """A handler that takes the events of one key one by one, in the order of their commits.

    An attempt begins only if all that was committed before it, of the same handler and key, is done
    or discarded. The key is what the row of the event says, or else what the event is about. `lane`
    is the name that the handler had when it became ordered, if it was renamed since.

    >>> from aftercommit import PUBLISH, Ordered, on
    >>> from shop.domain.messages import OrderPlaced
    >>> row = on(OrderPlaced, Ordered(PUBLISH), key=lambda event: event.email)
    """

    handler: Handler[M_contra, A_co] | Publish
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribed(Generic[M_contra, A_co]):
    """A handler that gets no new deliveries, and still runs those that are stored.

    >>> from aftercommit import Handlers, Unsubscribed, on
    >>> from shop.domain.messages import OrderPlaced
    >>> async def print_label(event: OrderPlaced) -> None:
    ...     print(event.order_id)
    >>> table = Handlers(commands=[], events=[on(OrderPlaced, Unsubscribed(print_label))])
    >>> [*table.by_name()], table.subscriptions(None)[OrderPlaced]
    (['print_label'], {})
    """

    handler: Handler[M_contra, A_co]


@dataclass(frozen=True, slots=True)
class Row(Generic[M_co, A_co]):
    """A message and its handlers, which may return an A."""

    message: type[M_co]
    handlers: tuple[Any, ...]
    key: Callable[[Any], object] | None = None


def on(
    message: type[M],
    *handlers: Handler[M, A] | Later[M, A] | Ordered[M, A] | Unsubscribed[M, A] | Publish,
    key: Callable[[M], object] | None = None,
) -> Row[M, A]:
    """Return a row of the table: a command has one handler, an event any number of them.

    By its `key` an event is ordered, here and in Kafka; by default, it is what the event is about.
    It should be an id: it is stored beside the event, and not erased with it.

    >>> from aftercommit import on
    >>> from shop.domain.messages import OrderPlaced
    >>> from shop.service_layer.handlers import confirm_order, count_order
    >>> row = on(OrderPlaced, count_order, confirm_order)
    """
    if not isinstance(message, type):
        raise WiringError("a row begins with the class of a message, and this is", repr(message))
    given: Sequence[Any] = handlers
    if lists := [repr(each) for each in given if isinstance(each, Sequence)]:
        problem = f"say on({message.__name__}, first, second), without brackets around handlers"
        raise WiringError(problem, *lists)
    return Row(message, handlers, key)


class Handlers(Generic[C_co, E_co]):
    """The table of an application: what handles its commands and events, by their two bases.

    `projections` are those handlers of events that only write a read model from what is stored now:
    doing it again does no harm. `renamed` has the old names of handlers, and what each is called
    now: for deliveries that were stored before.

    :raises WiringError: if one is no row, a message has two, or a command has not one handler

    >>> from aftercommit import Handlers, on
    >>> from shop.domain.messages import OrderPlaced, PlaceOrder
    >>> from shop.service_layer.handlers import count_order, place_order
    >>> table = Handlers(
    ...     commands=[on(PlaceOrder, place_order)],
    ...     events=[on(OrderPlaced, count_order)],
    ...     renamed={"keep_statistics": "count_order"},
    ... )
    """

    def __init__(
        self,
        *,
        commands: Sequence[Row[C_co, None]],
        events: Sequence[Row[E_co, C_co]],
        projections: Collection[Handler[Any, Any]] = (),
        renamed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        rows: Sequence[Any] = (*commands, *events)
        strange = [repr(row) for row in rows if not isinstance(row, Row)]
        raise_if_any("rows of the table are made by on(Message, handler); these are none", strange)
        messages = Counter(row.message for row in rows)
        twice = [message.__name__ for message, count in messages.items() if count > 1]
        raise_if_any("messages with two rows", twice)
        many = [row.message.__name__ for row in commands if len(row.handlers) != 1]
        raise_if_any("commands that have not one handler", many)
        self.commands: dict[type[Any], Handler[Any, Any]] = {
            c.message: c.handlers[0] for c in commands
        }
        self.events: dict[type[Any], Sequence[Any]] = {e.message: e.handlers for e in events}
        self.keys = {event.message: event.key for event in events if event.key}
        self.projections, self.renamed = projections, renamed

    @property
    def public_events(self) -> list[type[E_co]]:
        """The events that are published."""
        return [event for event, each in self.events.items() if PUBLISH in map(handler_of, each)]

    def publishing_to(self, publishers: Mapping[str, Publisher]) -> Self:
        """Return the table with handlers for these brokers, by name, in the place of `PUBLISH`."""
        to_each = [publish_to(*named, self.keys) for named in publishers.items()]
        table = copy(self)
        table.events = {
            event: [each for one in listed for each in _published(one, to_each)]
            for event, listed in self.events.items()
        }
        return table

    def subscriptions(self, settings: object) -> dict[type[Any], dict[str, Subscription]]:
        """Return how the handlers of each event get it, by their names."""
        return {event: dict(self._subscribed(event, settings)) for event in self.events}

    def _subscribed(self, event: type[Any], settings: object) -> Iterator[tuple[str, Subscription]]:
        for each in self.events[event]:
            handler = handler_of(each)
            if handler is not PUBLISH and not isinstance(each, Unsubscribed):
                name = handler_name(handler)
                lane = (each.lane or name) if isinstance(each, Ordered) else None
                yield name, Subscription(_delay(each, settings), lane, self.keys.get(event))

    def by_name(self) -> dict[str, Handler[Any, Any]]:
        """Return all handlers of events by name.

        :raises WiringError: if two have one name, or an event has one twice: it has one delivery
        """
        by_name: dict[str, Handler[Any, Any]] = {}
        for event, listed in self.events.items():
            handlers = [each for each in map(handler_of, listed) if each is not PUBLISH]
            for name, handler in zip(map(handler_name, handlers), handlers, strict=True):
                if by_name.setdefault(name, handler) is not handler or handlers.count(handler) > 1:
                    problem = f"for {event.__name__}, two handlers with one name, or one twice"
                    raise WiringError(problem, name)
        return by_name


def handler_of(subscriber: Any) -> Any:
    """Return the handler itself, or PUBLISH."""
    return getattr(subscriber, "handler", subscriber)


def handler_name(handler: Handler[Any, Any]) -> str:
    """Return the name, by which deliveries are known; what has none, or is not async, fails."""
    if iscoroutinefunction(handler) and (name := getattr(handler, "__name__", None)):
        return str(name)
    raise WiringError("handlers that are not made with `async def`", repr(handler))


def _delay(subscriber: object, settings: object) -> float:
    after: Any = getattr(subscriber, "after", timedelta())
    try:
        delay = after.total_seconds() if isinstance(after, timedelta) else after(settings)
    except AttributeError as error:
        raise WiringError("a delay asks for a setting that there is not", str(error)) from error
    is_time = isinstance(delay, int | float) and 0 <= delay < float("inf")
    raise_if_any("a delay is no number of seconds from 0 on", [] if is_time else [repr(delay)])
    return float(delay)


def _published(subscriber: object, to_each: Sequence[Handler[Any, Any]]) -> Sequence[object]:
    if handler_of(subscriber) is not PUBLISH:
        return [subscriber]
    return [*map(Ordered, to_each)] if isinstance(subscriber, Ordered) else to_each
