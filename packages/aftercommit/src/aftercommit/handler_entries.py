"""Entries of the table of handlers: a message and its handlers. A type checker checks them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Concatenate, Generic, Protocol, TypeVar

from typing_extensions import TypeVar as WithDefault

from aftercommit.errors import WiringError


class Message(Protocol):
    """A dataclass; the base of all commands or events is none.

    So a type checker takes the type of an entry from its message, not from the base.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]


M = TypeVar("M", bound=Message)
T = TypeVar("T")
A = WithDefault("A", default=None)  # a handler that returns no command
M_co = TypeVar("M_co", covariant=True)
M_contra = TypeVar("M_contra", contravariant=True)
A_co = WithDefault("A_co", covariant=True, default=None)

Handler = Callable[Concatenate[T, ...], Awaitable[A | None]]
"""Handles a T, and may return a command, an A. For further parameters see `Dependencies`."""


AnyHandler = Handler[T, A] | Callable[Concatenate[T, ...], None]
"""Or a handler made with `def`, which only an `Outbox` accepts: it runs in a thread."""


class Publish:
    """Stands for one handler for each message broker, which publishes the event there.

    Each of these handlers has its own deliveries, so a broker that is down delays no other.
    """


PUBLISH = Publish()
"""In the table of handlers: publishes the event to every broker, as one of the public events.

>>> from aftercommit import PUBLISH, Handlers, on
>>> from shop.domain.messages import OrderPlaced
>>> Handlers(commands=[], events=[on(OrderPlaced, PUBLISH)]).public_events
[<class 'shop.domain.messages.OrderPlaced'>]
"""


@dataclass(frozen=True, slots=True)
class Otherwise(Generic[M_contra, A_co]):
    """A handler, and what happens `instead` when it has failed for good.

    That is when its delivery would be parked, or `within` a time after its first due time, a
    timedelta or a function of the settings that returns seconds. From then on, only `instead` runs:
    a function that returns a command, which is executed in the transaction that ends the delivery.
    With an `Outbox`, it is a handler with `session`. It has no port, and may ask for `failure`.

    >>> from datetime import timedelta
    >>> from aftercommit import GivenUp, Otherwise, Unavailable, on
    >>> from shop.domain.messages import CancelOrder, OrderPlaced
    >>> async def charge(event: OrderPlaced) -> None:
    ...     raise Unavailable("the bank")
    >>> async def cancel(event: OrderPlaced, failure: GivenUp) -> CancelOrder:
    ...     return CancelOrder(order_id=event.order_id)
    >>> entry = on(OrderPlaced, Otherwise(charge, cancel, within=timedelta(hours=1)))
    """

    handler: AnyHandler[M_contra, A_co]
    instead: AnyHandler[M_contra, A_co]
    within: timedelta | Callable[[Any], float] | None = None

    def __post_init__(self) -> None:
        within: Any = self.within
        if not (within is None or callable(within) or isinstance(within, timedelta)):
            raise WiringError("`within` is a timedelta or a function, not", repr(within))


@dataclass(frozen=True, slots=True)
class Later(Generic[M_contra, A_co]):
    """A handler that runs with a delay, `after` the commit of the event.

    The delay is a timedelta, or a function of the settings that returns seconds. Nothing that
    happens meanwhile cancels the delivery, so the handler should check the current state.

    >>> from datetime import timedelta
    >>> from aftercommit import Handlers, Later, on
    >>> from shop.domain.messages import OrderPlaced
    >>> async def ask_for_feedback(event: OrderPlaced) -> None:
    ...     print("How was it?")
    >>> entry = on(OrderPlaced, Later(ask_for_feedback, after=timedelta(days=7)))
    >>> Handlers(commands=[], events=[entry]).subscriptions(None)[OrderPlaced].keys()
    dict_keys(['ask_for_feedback'])
    """

    handler: AnyHandler[M_contra, A_co] | Otherwise[M_contra, A_co]
    after: timedelta | Callable[[Any], float]

    def __post_init__(self) -> None:
        if not (isinstance(self.after, timedelta) or callable(self.after)):
            raise WiringError("a delay is a timedelta or a function, not", repr(self.after))
        if isinstance(self.after, timedelta) and self.after < timedelta():
            raise WiringError("a delay is negative; give the time after the event", str(self.after))


@dataclass(frozen=True, slots=True)
class Ordered(Generic[M_contra, A_co]):
    """A handler that handles the events of one key one by one, in the order of their commits.

    An attempt begins only when all earlier deliveries of the same handler and key are done or
    discarded. The key is that of the entry, or else what the event is about. If the handler was
    renamed after it became ordered, `lane` is the name that it had then.

    >>> from aftercommit import PUBLISH, Ordered, on
    >>> from shop.domain.messages import OrderPlaced
    >>> entry = on(OrderPlaced, Ordered(PUBLISH), key=lambda event: event.email)
    """

    handler: AnyHandler[M_contra, A_co] | Otherwise[M_contra, A_co] | Publish
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribed(Generic[M_contra, A_co]):
    """A handler that gets no new deliveries, but still runs the stored ones.

    >>> from aftercommit import Handlers, Unsubscribed, on
    >>> from shop.domain.messages import OrderPlaced
    >>> async def print_label(event: OrderPlaced) -> None:
    ...     print(event.order_id)
    >>> table = Handlers(commands=[], events=[on(OrderPlaced, Unsubscribed(print_label))])
    >>> [*table.by_name()], table.subscriptions(None)[OrderPlaced]
    (['print_label'], {})
    """

    handler: AnyHandler[M_contra, A_co] | Otherwise[M_contra, A_co]


@dataclass(frozen=True, slots=True)
class Limited(Generic[M_contra, A_co]):
    """A handler with a limit: how many run `at_once`, and begin `per_minute`, over all processes.

    A delivery that may not begin is not claimed: it stays due, and no attempt is counted. Each
    number is 1 or more, or a function of the settings that returns it. A limit belongs to the
    handler, so each of its entries gives the same limit. Handlers that call the same service can
    share one by its `name`, which otherwise is the handler's name. Workers make all attempts.

    >>> from aftercommit import Handlers, Limited, on
    >>> from shop.domain.messages import OrderPlaced
    >>> async def charge(event: OrderPlaced) -> None:
    ...     print(event.order_id)
    >>> entry = on(OrderPlaced, Limited(charge, at_once=5, per_minute=100, name="payments"))
    >>> Handlers(commands=[], events=[entry]).limits(None)
    {'charge': Limit(name='payments', at_once=5, per_minute=100)}
    """

    handler: (
        AnyHandler[M_contra, A_co]
        | Otherwise[M_contra, A_co]
        | Later[M_contra, A_co]
        | Unsubscribed[M_contra, A_co]
    )
    _: KW_ONLY
    at_once: int | Callable[[Any], int] | None = None
    per_minute: int | Callable[[Any], int] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        numbers: list[Any] = [self.at_once, self.per_minute]
        given = [number for number in numbers if number is not None]
        if not given:
            raise WiringError("give at_once or per_minute to a limit, or both", repr(self.handler))
        for number in given:
            if not callable(number):
                ensure_number(number)
        name: Any = self.name
        if name is not None and not (isinstance(name, str) and name.isidentifier()):
            raise WiringError("the name of a limit has the form of a handler's name", repr(name))


def ensure_number(number: object) -> None:
    """Refuse a number that a limit cannot have.

    :raises WiringError: for example for 0; to let nothing begin, pause the handler
    """
    if type(number) is not int or number < 1:
        raise WiringError("a limit has to be a whole number of 1 or more", repr(number))


@dataclass(frozen=True, slots=True)
class Entry(Generic[M_co, A_co]):
    """A message and its handlers, which may return a command, an A."""

    message: type[M_co]
    handlers: tuple[Any, ...]
    key: Callable[[Any], object] | None = None
    may_loop: bool = False


def on(
    message: type[M],
    *handlers: AnyHandler[M, A]
    | Otherwise[M, A]
    | Later[M, A]
    | Limited[M, A]
    | Ordered[M, A]
    | Unsubscribed[M, A]
    | Publish,
    key: Callable[[M], object] | None = None,
    may_loop: bool = False,
) -> Entry[M, A]:
    """Return an entry of the table: a command has one handler, an event any number of them.

    The `key` orders an event, here and in Kafka; by default, it is what the event is about. It
    should be an id, because it is stored next to the event, and not erased with it. An event that
    `may_loop` can lead to itself any number of times, such as to go on with the next chunk.

    >>> from aftercommit import on
    >>> from shop.domain.messages import OrderPlaced
    >>> from shop.service_layer.handlers import confirm_order, count_order
    >>> entry = on(OrderPlaced, count_order, confirm_order)
    """
    if not isinstance(message, type):
        raise WiringError("an entry begins with the class of a message, and this is", repr(message))
    given: Sequence[Any] = handlers
    if lists := [repr(each) for each in given if isinstance(each, Sequence)]:
        problem = f"write on({message.__name__}, first, second), without brackets around handlers"
        raise WiringError(problem, *lists)
    given_key: Any = key
    if given_key is not None and (not callable(given_key) or iscoroutinefunction(given_key)):
        problem = f"the key of {message.__name__} has to be a function of it, made with `def`"
        raise WiringError(f"{problem}, not", repr(key))
    return Entry(message, handlers, key, may_loop)


def unlimited(subscriber: Any) -> Any:
    """Return a handler without its limit, if it has one."""
    return subscriber.handler if isinstance(subscriber, Limited) else subscriber


WRAPPERS = {Limited: 0, Later: 1, Ordered: 1, Unsubscribed: 1, Otherwise: 2}
"""What may stand around a handler, from the outside: one of each number."""


def is_well_nested(subscriber: Any) -> bool:
    """Tell whether what stands around a handler is in its order."""
    found = list[int]()
    while (number := WRAPPERS.get(type(subscriber))) is not None:
        found.append(number)
        subscriber = subscriber.handler
    return found == sorted({*found})


def handler_of(subscriber: Any) -> Any:
    """Return the handler itself, or PUBLISH."""
    return handler_of(subscriber.handler) if type(subscriber) in WRAPPERS else subscriber


def otherwise_of(subscriber: Any) -> Otherwise[Any, Any] | None:
    """Return the `Otherwise` around a handler, if there is one."""
    if isinstance(subscriber, Otherwise):
        return subscriber
    return otherwise_of(subscriber.handler) if type(subscriber) in WRAPPERS else None


def changed(subscriber: Any, change: Callable[[Any], Any]) -> Any:
    """Return the same entry with its handler changed, and what happens instead of it."""
    if type(subscriber) not in WRAPPERS:
        return change(subscriber)
    inner = replace(subscriber, handler=changed(subscriber.handler, change))
    is_last = isinstance(subscriber, Otherwise)
    return replace(inner, instead=change(subscriber.instead)) if is_last else inner


def handler_name(handler: Handler[Any, Any]) -> str:
    """Return the name by which deliveries are known; refuse a handler without name or async."""
    if iscoroutinefunction(handler) and (name := getattr(handler, "__name__", None)):
        return str(name)
    raise WiringError("handlers have to be made with `async def`; these are not", repr(handler))
