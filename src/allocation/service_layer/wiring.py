"""Binds handlers to what they ask for, once, at start: what cannot work is found before it runs.

A handler's signature says what it is promised (see `handlers.py`), so this is where mixtures that
could lose or double work are refused.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from inspect import getmembers_static, iscoroutinefunction, signature
from typing import Any, TypeVar

from allocation.domain import commands, events
from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.exceptions import NotAwaited, WiringError
from allocation.service_layer.guard import Calls, only_failing
from allocation.service_layer.unit_of_work import UnitOfWork

M = TypeVar("M")

Handler = Callable[..., Awaitable[None]]  # the parameters differ; `bind` checks them
CommandHandlers = Mapping[type[Command], Handler]
EventHandlers = Mapping[type[Event], Iterable[Handler]]

MADE_FOR_EVERY_ATTEMPT: Mapping[str, Callable[[UnitOfWork | None, Delivery | None], Any]] = {
    "uow": lambda uow, _: uow,
    "idempotency_key": lambda _, delivery: delivery and delivery.idempotency_key,
    "envelope": lambda _, delivery: delivery and delivery.envelope,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What handlers may ask for by name, besides what is made for every attempt.

    `outside_ports` have effects that no rollback takes back; one that is None is not configured in
    this process. `values` have no effect at all.
    """

    outside_ports: Mapping[str, Any]
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        ports = [name for name, value in self.values.items() if _is_asynchronous(value)]
        _refuse("outside ports among the values", ports)


class BoundHandler:
    """A handler with what its parameters, after the message, ask for by name.

    :raises WiringError: if it asks for something unknown, or for what does not go together
    """

    def __init__(self, handler: Handler, dependencies: Dependencies) -> None:
        self.name = _name(handler)
        self.handler = handler
        self._asks_for = set(list(signature(handler).parameters)[1:])
        self._values = self._chosen_from(dependencies.values)
        self.ports = self._chosen_from(dependencies.outside_ports)
        self._made = self._chosen_from(MADE_FOR_EVERY_ATTEMPT)
        self._check()
        self.has_uow = "uow" in self._asks_for
        self.can_run_here = None not in self.ports.values()

    async def run(
        self, message: Command | Event, uow: UnitOfWork | None, delivery: Delivery | None
    ) -> None:
        """Make one attempt.

        :raises NotAwaited: if it has left a call to a port behind
        :raises HandlerAborted: if it tried to end the process, or made a cancellation up
        """
        calls = Calls(NotAwaited)
        ports = {name: calls.guarded(name, port) for name, port in self.ports.items()}
        made = {name: make(uow, delivery) for name, make in self._made.items()}
        with only_failing(self.name):
            await self.handler(message, **self._values, **ports, **made)
        calls.end()

    def _chosen_from(self, offered: Mapping[str, Any]) -> dict[str, Any]:
        return {name: offered[name] for name in self._asks_for & offered.keys()}

    def _check(self) -> None:
        name, asks_for = self.name, self._asks_for
        unknown = asks_for - self._values.keys() - self.ports.keys() - self._made.keys()
        _refuse(f"{name} asks for what nobody provides in bootstrap.py", unknown)
        try:
            signature(self.handler).bind(None, **dict.fromkeys(asks_for))
        except TypeError as error:
            raise WiringError(f"{name} cannot be given a message and names", str(error)) from None
        if "uow" in asks_for:
            _refuse(
                f"{name} asks for uow and for an effect outside, which cannot be done"
                " together, exactly once: split it in two. Let the one with uow record an event,"
                " and let another handler of that event, without uow, have",
                self.ports,
            )
            reading = asks_for & {"reading"}  # it would hold a connection, and wait for another one
            _refuse(f"{name} can look things up in uow, and has to leave out", reading)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The handlers this process can run: of commands by type, of events by name."""

    commands: Mapping[type[Command], BoundHandler]
    events: Mapping[str, BoundHandler]


def bind_all(
    command_handlers: CommandHandlers,
    event_handlers: EventHandlers,
    renamed: Mapping[str, str],
    dependencies: Dependencies,
) -> Registry:
    """Bind every handler. Those of events whose outside port is not configured are left out.

    :raises WiringError: if something is missing, unknown, ambiguous, or does not go together
    """
    missing = set(types_in(commands, Command)) - command_handlers.keys()
    _refuse("commands without a handler", [command.__name__ for command in missing])
    of_commands = {c: BoundHandler(h, dependencies) for c, h in command_handlers.items()}
    without_uow = [handler.name for handler in of_commands.values() if not handler.has_uow]
    _refuse("handlers of commands that do not ask for uow", without_uow)
    by_name = _by_name(event_handlers)
    lost, kept = set(renamed.values()) - by_name.keys(), renamed.keys() & by_name.keys()
    _refuse("RENAMED_HANDLERS leads to handlers that do not exist", lost)
    _refuse("RENAMED_HANDLERS renames handlers that still exist", kept)
    bound = {name: BoundHandler(handler, dependencies) for name, handler in by_name.items()}
    bound |= {old: bound[new] for old, new in renamed.items()}
    of_events = {name: handler for name, handler in bound.items() if handler.can_run_here}
    return Registry(commands=of_commands, events=of_events)


def subscriptions(event_handlers: EventHandlers) -> dict[type[Event], list[str]]:
    """Return the names of the handlers of each event: each is one delivery."""
    return {event: list(map(_name, handlers)) for event, handlers in event_handlers.items()}


def check_complete(event_handlers: EventHandlers) -> None:
    """Find events that were forgotten in the table.

    :raises WiringError: if there are; one that nobody handles is listed with an empty list
    """
    missing = set(types_in(events, Event)) - event_handlers.keys()
    _refuse("events missing in EVENT_HANDLERS", [event.__name__ for event in missing])


def types_in(module: object, base: type[M]) -> list[type[M]]:
    """Return the types of messages that a module defines, or imports."""
    types = [member for member in vars(module).values() if isinstance(member, type)]
    return [type_ for type_ in types if issubclass(type_, base) and type_ is not base]


def _by_name(event_handlers: EventHandlers) -> dict[str, Handler]:
    by_name: dict[str, Handler] = {}
    for event_type, handlers in event_handlers.items():
        twice = [_name(handler) for handler, count in Counter(handlers).items() if count > 1]
        _refuse(f"twice a handler of {event_type.__name__}", twice)
        for handler in handlers:
            if by_name.setdefault(_name(handler), handler) is not handler:
                raise WiringError("two handlers with one name", _name(handler))
    return by_name


def _name(handler: Handler) -> str:
    """Return the name, by which deliveries are owed; what has none, or is not async, is refused."""
    if iscoroutinefunction(handler) and (name := getattr(handler, "__name__", None)):
        return str(name)
    raise WiringError("handlers that are not made with `async def`", repr(handler))


def _is_asynchronous(value: object) -> bool:
    members = [member for _, member in getmembers_static(type(value))]
    return any(map(iscoroutinefunction, [value, *members]))


def _refuse(problem: str, names: Collection[str]) -> None:
    if names:
        raise WiringError(problem, *names)
