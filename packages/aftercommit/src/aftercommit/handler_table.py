"""The table of an application's handlers: which message is handled by which handlers.

`handler_binding.py` binds handlers to what they ask for.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Generic, Self, TypeVar

from aftercommit.envelopes import Envelope, HandlerSubscription
from aftercommit.errors import WiringError, raise_if_any
from aftercommit.handler_entries import (
    PUBLISH,
    WRAPPERS,
    Entry,
    Handler,
    Limited,
    Ordered,
    Unsubscribed,
    ensure_number,
    handler_name,
    handler_of,
    is_well_nested,
    otherwise_of,
    unlimited,
)
from aftercommit.limits import Limit, Limits
from aftercommit.ports import Publisher
from aftercommit.schedules import Every

OF_A_COMMAND = (
    "the handler of a command runs at once, without a claim, and who sends the command gets its"
    " error: record an event, and limit its handler, delay it or give it an Otherwise. Not so for"
)
NESTING = (
    "use one of Later, Ordered and Unsubscribed, and put Limited around it; Otherwise stands"
    " inside, next to the handler. Not so"
)
WITH_LIMIT = (
    "Ordered and Limited exclude each other: with a limit, a lane would wait for other lanes. For"
    " one delivery at a time, in order, use Ordered with the same key for all events. Not so"
)

A_SLOW_CYCLE = 3600.0  # seconds of a delay: no cycle that is a mistake, and does harm

C_co = TypeVar("C_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)


class Handlers(Generic[C_co, E_co]):
    """The table of an application's handlers, with the base classes of its commands and events.

    `projections` are handlers of events that only write a read model from the stored state, so that
    they can safely run again. `renamed` maps old names of handlers to the current ones, for
    deliveries that were stored before. `every` has the schedules: each makes an event of its times.

    :raises WiringError: if one is no entry, if a message has two, if a command has not exactly one
        handler, or if `PUBLISH` is delayed, unsubscribed, limited or has an `Otherwise`

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
        commands: Sequence[Entry[C_co, None]],
        events: Sequence[Entry[E_co, C_co]],
        projections: Collection[Handler[Any, Any]] = (),
        renamed: Mapping[str, str] = MappingProxyType({}),
        every: Sequence[Every[E_co]] = (),
    ) -> None:
        entries: Sequence[Any] = (*commands, *events)
        strange = [repr(entry) for entry in entries if not isinstance(entry, Entry)]
        raise_if_any(
            "entries of the table are made by on(Message, handler); these are not", strange
        )
        messages = Counter(entry.message for entry in entries)
        twice = [message.__name__ for message, count in messages.items() if count > 1]
        raise_if_any("a message has one entry; these have two", twice)
        many = [entry.message.__name__ for entry in commands if len(entry.handlers) != 1]
        raise_if_any("a command has exactly one handler; these do not", many)
        listed: Sequence[Any] = [each for entry in events for each in entry.handlers]
        published = [each for each in listed if handler_of(each) is PUBLISH]
        wrong = [repr(each) for each in published if each not in (PUBLISH, Ordered(PUBLISH))]
        raise_if_any("PUBLISH stands for several handlers, and can only be Ordered. Not so", wrong)
        wrong = [c.message.__name__ for c in commands if type(c.handlers[0]) in WRAPPERS]
        raise_if_any(OF_A_COMMAND, wrong)
        self.commands: dict[type[Any], Any] = {c.message: c.handlers[0] for c in commands}
        self.events: dict[type[Any], Sequence[Any]] = {e.message: e.handlers for e in events}
        self.keys = {event.message: event.key for event in events if event.key}
        self.may_loop = {event.message for event in events if event.may_loop}
        scheduled: Sequence[Any] = every
        wrong = [repr(each) for each in scheduled if not isinstance(each, Every)]
        raise_if_any("`every` is a list of Every(name, cron, make); these are not", wrong)
        self.projections, self.renamed, self.every = projections, renamed, every

    @property
    def public_events(self) -> list[type[E_co]]:
        """The types of the events that are published."""
        return [event for event, each in self.events.items() if PUBLISH in map(handler_of, each)]

    def publishing_to(self, publishers: Mapping[str, Publisher]) -> Self:
        """Return the table with a handler for each of these brokers, by name, for `PUBLISH`."""
        to_each = [_publish_to(*named, self.keys) for named in publishers.items()]
        table = copy(self)
        table.events = {
            event: [each for one in listed for each in _published(one, to_each)]
            for event, listed in self.events.items()
        }
        return table

    def subscriptions(self, settings: object) -> dict[type[Any], dict[str, HandlerSubscription]]:
        """Return how the handlers of each event type get its events, by handler name."""
        return {event: dict(self._subscribed(event, settings)) for event in self.events}

    def _subscribed(
        self, event: type[Any], settings: object
    ) -> Iterator[tuple[str, HandlerSubscription]]:
        for each in self.events[event]:
            handler = handler_of(each)
            how = unlimited(each)
            if handler is not PUBLISH and not isinstance(how, Unsubscribed):
                name = handler_name(handler)
                lane = (how.lane or name) if isinstance(how, Ordered) else None
                delay = _seconds("a delay", getattr(how, "after", timedelta()), settings)
                said = otherwise_of(each)
                given = said.within if said else None
                within = None if given is None else _seconds("`within`", given, settings)
                begins = delay >= A_SLOW_CYCLE or event in self.may_loop
                yield name, HandlerSubscription(delay, lane, self.keys.get(event), within, begins)

    @property
    def limited(self) -> set[str]:
        """The names of the handlers with a limit."""
        every = [each for listed in self.events.values() for each in listed]
        return {handler_name(handler_of(each)) for each in every if isinstance(each, Limited)}

    def limits(self, settings: object) -> Limits:
        """Return the limits of handlers, by all their names, including old ones.

        :raises WiringError: if entries of a handler, or handlers that share a limit, differ in
            numbers
        """
        found, by_name = dict[str, Limit | None](), dict[str, Limit]()
        for each in (each for listed in self.events.values() for each in listed):
            if (handler := handler_of(each)) is PUBLISH:
                continue
            name, limit = handler_name(handler), None
            if isinstance(each, Limited):
                numbers = (_number(given, settings) for given in (each.at_once, each.per_minute))
                limit = Limit(each.name or name, *numbers)
                if by_name.setdefault(limit.name, limit) != limit:
                    problem = "handlers that share a limit give it the same numbers. There are"
                    raise WiringError(problem, repr(limit), repr(by_name[limit.name]))
            if found.setdefault(name, limit) != limit:
                problem = "all entries of a handler give it the same limit. Not so"
                raise WiringError(problem, name)
        limits = {name: limit for name, limit in found.items() if limit}
        return limits | {old: limits[new] for old, new in self.renamed.items() if new in limits}

    @property
    def instead(self) -> dict[str, Handler[Any, Any]]:
        """What happens instead of handlers that have failed for good, by all their names.

        :raises WiringError: if entries of a handler differ in it
        """
        found = dict[str, Handler[Any, Any] | None]()
        for each in (each for listed in self.events.values() for each in listed):
            if (handler := handler_of(each)) is not PUBLISH:
                name, said = handler_name(handler), otherwise_of(each)
                does: Any = said and said.instead
                if found.setdefault(name, does) is not does:
                    problem = "the same happens instead of a handler in all its entries. Not so"
                    raise WiringError(problem, name)
        instead = {name: each for name, each in found.items() if each}
        return instead | {old: instead[new] for old, new in self.renamed.items() if new in instead}

    def by_name(self) -> dict[str, Handler[Any, Any]]:
        """Return all handlers of events by name.

        :raises WiringError: if two have the same name, or if an event has one twice
        """
        by_name: dict[str, Handler[Any, Any]] = {}
        for event, listed in self.events.items():
            handlers = [each for each in map(handler_of, listed) if each is not PUBLISH]
            for name, handler in zip(map(handler_name, handlers), handlers, strict=True):
                if by_name.setdefault(name, handler) is not handler or handlers.count(handler) > 1:
                    problem = f"{event.__name__} has two handlers of one name, or one twice"
                    raise WiringError(problem, name)
        return by_name

    def ensure_lanes(self) -> None:
        """Refuse what would silently break the order of a handler.

        :raises WiringError: if an ordered handler is also delayed, is ordered for some of its
            events only, lost its lanes by a rename, or shares them with another handler
        """
        every = [each for listed in self.events.values() for each in listed]
        limited: list[Any] = [each.handler for each in every if isinstance(each, Limited)]
        raise_if_any(WITH_LIMIT, [repr(each) for each in limited if isinstance(each, Ordered)])
        nested = [repr(each) for each in every if not is_well_nested(each)]
        raise_if_any(NESTING, nested)
        lanes, by_lane = dict[str, set[object]](), dict[str, set[str]]()
        unsaid = set[str]()
        for each in (each for each in every if not isinstance(unlimited(each), Unsubscribed)):
            name = getattr(handler_of(each), "__name__", "PUBLISH")
            lane = (each.lane or name) if isinstance(each, Ordered) else None
            lanes.setdefault(name, set()).add(lane)
            by_lane.setdefault(lane or "", set()).add(name)
            unsaid |= {name} if isinstance(each, Ordered) and each.lane is None else set()
        mixed = [name for name, used in lanes.items() if len(used) > 1]
        raise_if_any(
            "a handler has to be Ordered, with the same lane, for all of its events. Not so", mixed
        )
        wrong = [lane for lane in by_lane if not f"_{lane}".isidentifier()]
        raise_if_any("a lane has the current or an old name of its handler. Not so", wrong)
        shared = [lane for lane, names in by_lane.items() if lane and len(names) > 1]
        raise_if_any("two handlers cannot have the same lane", shared)
        for old, new in self.renamed.items():
            names = f"lane={old!r}, or lane={new!r} if it had that name first,"
            lost = {new} & unsaid
            raise_if_any(f"an ordered handler was renamed; to keep its lane, give {names} to", lost)


def _given(what: str, given: Any, settings: object) -> Any:
    """Return what is given; if it is a function, call it with the settings."""
    try:
        return given(settings) if callable(given) else given
    except AttributeError as error:
        raise WiringError(f"{what} asks for a setting that does not exist", str(error)) from error


def _seconds(what: str, given: Any, settings: object) -> float:
    """Return a time in seconds."""
    is_timedelta = isinstance(given, timedelta)
    seconds = given.total_seconds() if is_timedelta else _given(what, given, settings)
    is_time = isinstance(seconds, int | float) and 0 <= seconds < float("inf")
    problem = f"{what} is a number of seconds, 0 or more, not"
    raise_if_any(problem, [] if is_time else [repr(seconds)])
    return float(seconds)


def _number(given: Any, settings: object) -> int | None:
    """Return a number of a limit."""
    number: int | None = _given("a limit", given, settings)
    if callable(given):
        ensure_number(number)
    return number


def _publish_to(
    name: str, publisher: Publisher, keys: Mapping[type[Any], Callable[[Any], object]]
) -> Handler[Any, Any]:
    """Return the handler for the broker of this name; it passes on the key of each event."""

    async def publish(event: object, envelope: Envelope) -> None:
        """Publish the event to the broker."""
        if key := keys.get(type(event)):
            envelope = replace(envelope, key=str(key(event)))
        await publisher.publish(envelope)

    publish.__name__ = f"publish_event_to_{name}"
    return publish


def _published(subscriber: object, to_each: Sequence[Handler[Any, Any]]) -> Sequence[object]:
    if handler_of(subscriber) is not PUBLISH:
        return [subscriber]
    return [*map(Ordered, to_each)] if isinstance(subscriber, Ordered) else to_each
