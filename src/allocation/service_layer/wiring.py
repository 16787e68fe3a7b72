"""Binds handlers to what they ask for, once, at start: what cannot work is found before it runs.

A handler's signature says what it is promised (see `handlers.py`), so this is where mixtures that
could lose or double work are refused.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import getmembers_static, iscoroutinefunction, signature
from typing import Any, TypeVar

from allocation.domain import commands, events
from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.exceptions import NotAwaited, WiringError
from allocation.service_layer.guard import Calls
from allocation.service_layer.messagebus import BoundHandler, Registry
from allocation.service_layer.unit_of_work import UnitOfWork

M = TypeVar("M")

Handler = Callable[..., Awaitable[None]]  # the parameters differ; `bind` checks them
CommandHandlers = Mapping[type[Command], Handler]
EventHandlers = Mapping[type[Event], Iterable[Handler]]

MADE_FOR_EVERY_ATTEMPT = {"uow", "idempotency_key", "envelope"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What handlers may ask for by name, besides what is made for every attempt.

    `outside_ports` have effects that no rollback takes back; one that is None is not configured in
    this process. `values` have no effect at all.

    :raises WiringError: if a value is asynchronous, or has such methods: that is a port
    """

    outside_ports: Mapping[str, Any]
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        if ports := [name for name, value in self.values.items() if _is_asynchronous(value)]:
            raise WiringError("outside ports among the values", *ports)


def bind_all(
    command_handlers: CommandHandlers,
    event_handlers: EventHandlers,
    renamed: Mapping[str, str],
    dependencies: Dependencies,
) -> Registry:
    """Bind every handler. Those of events whose outside port is not configured are left out.

    :raises WiringError: if a handler asks for something unknown, or for what does not go together;
        if two have one name, an event has one twice, a command has none or one without a unit of
        work, or RENAMED_HANDLERS makes no sense
    """
    if missing := set(types_in(commands, Command)) - command_handlers.keys():
        raise WiringError("commands without a handler", *(c.__name__ for c in missing))
    for handler in command_handlers.values():
        if "uow" not in signature(handler).parameters:
            raise WiringError("handlers of commands that do not ask for uow", _name(handler))
    by_name = _by_name(event_handlers)
    if lost := set(renamed.values()) - by_name.keys():
        raise WiringError("RENAMED_HANDLERS leads to handlers that do not exist", *lost)
    if kept := renamed.keys() & by_name.keys():
        raise WiringError("RENAMED_HANDLERS renames handlers that still exist", *kept)
    names = {name: name for name in by_name} | dict(renamed)
    bound = {name: bind(handler, dependencies) for name, handler in by_name.items()}
    return Registry(
        commands={c: bind(h, dependencies) for c, h in command_handlers.items()},
        events={
            old: bound[new] for old, new in names.items() if not _absent(by_name[new], dependencies)
        },
    )


def bind(handler: Handler, dependencies: Dependencies) -> BoundHandler:
    """Give a handler what its parameters, after the message, ask for by name.

    :raises WiringError: if it asks for something unknown, or for what does not go together
    """
    name, wanted = _name(handler), set(list(signature(handler).parameters)[1:])
    known = {**dependencies.values, **dependencies.outside_ports}
    if unknown := wanted - known.keys() - MADE_FOR_EVERY_ATTEMPT:
        raise WiringError(f"{name} asks for what nobody provides", *unknown)
    try:
        signature(handler).bind(None, **dict.fromkeys(wanted))
    except TypeError as error:
        raise WiringError(f"{name} cannot be given a message and names", str(error)) from None
    outside = wanted & dependencies.outside_ports.keys()
    if outside and "uow" in wanted:
        raise WiringError(
            f"{name} asks for uow and for an effect outside, which cannot be done"
            " together, exactly once: split it in two. Let the one with uow record an event, and"
            " let another handler of that event, without uow, have",
            *outside,
        )
    if {"uow", "reading"} <= wanted:  # each would hold one connection, and wait for another
        raise WiringError(f"{name} can look things up in uow, and has to leave out", "reading")
    bound = partial(handler, **{name: known[name] for name in wanted & dependencies.values.keys()})
    made = MADE_FOR_EVERY_ATTEMPT & wanted

    async def run(
        message: Command | Event, uow: UnitOfWork | None, delivery: Delivery | None
    ) -> None:
        offered = {
            "uow": uow,
            "idempotency_key": delivery and delivery.idempotency_key,
            "envelope": delivery and delivery.envelope,
        }
        calls = Calls(NotAwaited)
        ports = {name: calls.guarded(name, known[name]) for name in outside}
        await bound(message, **ports, **{name: offered[name] for name in made})
        calls.end()

    return BoundHandler(name=name, has_uow="uow" in wanted, run=run)


def subscriptions(event_handlers: EventHandlers) -> dict[type[Event], list[str]]:
    """Return the names of the handlers of each event: each is one delivery."""
    return {
        event_type: [_name(handler) for handler in handlers]
        for event_type, handlers in event_handlers.items()
    }


def check_complete(event_handlers: EventHandlers) -> None:
    """Find events that were forgotten in the table.

    :raises WiringError: if there are; one that nobody handles is listed with an empty list
    """
    if missing := set(types_in(events, Event)) - event_handlers.keys():
        raise WiringError("events missing in EVENT_HANDLERS", *(e.__name__ for e in missing))


def types_in(module: object, base: type[M]) -> list[type[M]]:
    """Return the types of messages that a module defines, or imports."""
    types = [member for member in vars(module).values() if isinstance(member, type)]
    return [type_ for type_ in types if issubclass(type_, base) and type_ is not base]


def _by_name(event_handlers: EventHandlers) -> dict[str, Handler]:
    by_name: dict[str, Handler] = {}
    for event_type, handlers in event_handlers.items():
        if twice := [_name(h) for h, count in Counter(handlers).items() if count > 1]:
            raise WiringError(f"twice a handler of {event_type.__name__}", *twice)
        for handler in handlers:
            if by_name.setdefault(_name(handler), handler) is not handler:
                raise WiringError("two handlers with one name", _name(handler))
    return by_name


def _name(handler: Handler) -> str:
    """Return the name, by which deliveries are owed; whatever has none, or is not async, is none.

    :raises WiringError: if it is none
    """
    if iscoroutinefunction(handler) and (name := getattr(handler, "__name__", None)):
        return str(name)
    raise WiringError("handlers that are not made with `async def`", repr(handler))


def _absent(handler: Handler, dependencies: Dependencies) -> bool:
    ports = dependencies.outside_ports
    wanted = signature(handler).parameters
    return any(port is None and name in wanted for name, port in ports.items())


def _is_asynchronous(value: object) -> bool:
    members = [member for _, member in getmembers_static(type(value))]
    return any(iscoroutinefunction(member) for member in [value, *members])
