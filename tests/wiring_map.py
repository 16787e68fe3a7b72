"""Draws what handles what, for docs/wiring.md: from the tables, the signatures and the model.

Which events a handler causes is in no table: it calls methods of aggregates, and those record them.
A test compares that with what is recorded when the program runs.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import chain
from pkgutil import iter_modules
from textwrap import dedent
from types import NoneType
from typing import Any, get_args, get_type_hints

from allocation import domain
from allocation.domain import events
from allocation.domain.aggregate import Aggregate
from allocation.domain.events import Event
from allocation.service_layer.delivery_ports import Publisher
from allocation.service_layer.envelopes import Envelope, message_types
from allocation.service_layer.handler_table import PUBLISH, Handler, Later, handler_of
from allocation.service_layer.handlers import HANDLERS as TABLE

OUTSIDE = {
    "notifications": "e-mail",
    "user_mail": "e-mail",
    "publisher": "other services",
}
ONCE = "exactly once in effect"
KEYS = {  # what comes again with each attempt
    "idempotency_key": "at least once, with the same `idempotency_key`",
    "envelope": "at least once, with the same id of the event",
}


async def publish_event(event: Event, envelope: Envelope, publisher: Publisher) -> None:
    """Stand for `PUBLISH`, of which the engine makes a handler for each broker."""


EVENTS = {
    event: [publish_event if each is PUBLISH else each for each in listed]
    for event, listed in TABLE.events.items()
}


@dataclass(frozen=True, slots=True)
class Node:
    """A handler, as the map shows it."""

    handler: Handler[Any, Any]

    @property
    def name(self) -> str:
        """Its name, by which deliveries are owed."""
        return self.handler.__name__

    @property
    def asks_for(self) -> list[str]:
        """The names of its parameters, after the message."""
        return list(inspect.signature(self.handler).parameters)[1:]

    @property
    def effects(self) -> list[str]:
        """Where it has an effect outside."""
        return [OUTSIDE[name] for name in self.asks_for if name in OUTSIDE]

    @property
    def promise(self) -> str:
        """What it is promised, as `handler_binding.py` reads it in its signature."""
        if "uow" in self.asks_for:
            return ONCE
        keys = [promise for name, promise in KEYS.items() if name in self.asks_for]
        return keys[0] if keys else "at least once, and nothing tells a repetition"

    @property
    def answers(self) -> list[type]:
        """The commands that it may return."""
        returned = get_type_hints(self.handler)["return"]
        return [each for each in get_args(returned) or [returned] if each is not NoneType]

    @property
    def causes(self) -> list[type[Event]]:
        """The events that the aggregates record which it asks."""
        return [
            event
            for event in message_types(events, Event)
            if event.__name__ in caused(self.handler)
        ]


def picture() -> Iterator[str]:
    """Yield the map: commands, their handlers, events, theirs, and the world outside."""
    found = nodes()
    yield "```mermaid"
    yield "flowchart LR"
    yield from (f"    {command.__name__}[/{command.__name__}/]" for command in TABLE.commands)
    yield from (f"    {event.__name__}([{event.__name__}])" for event in TABLE.events)
    yield from (f"    {_id(place)}{{{{{place}}}}}" for place in dict.fromkeys(OUTSIDE.values()))
    for command, handler in TABLE.commands.items():
        yield f"    {command.__name__} --> {Node(handler).name}"
    for node in found.values():
        yield from (
            f"    {node.name} --> {each.__name__}" for each in (*node.causes, *node.answers)
        )
    for event, listed in EVENTS.items():
        yield from (f"    {event.__name__} {_arrow(each)} {_name(each)}" for each in listed)
    for node in found.values():
        yield from (f"    {node.name} -.-> {_id(place)}" for place in node.effects)
    yield from (f"    class {node.name} once" for node in found.values() if node.promise == ONCE)
    yield "    classDef once stroke-width:3px"
    yield "```"


def table() -> Iterator[str]:
    """Yield what each handler is promised, and why."""
    yield "| handler | of | asks for | and so is | causes |"
    yield "|---|---|---|---|---|"
    for node in nodes().values():
        messages = (*node.causes, *node.answers)
        causes = [*(f"`{each.__name__}`" for each in messages), *node.effects]
        yield (
            f"| `{node.name}` | {', '.join(f'`{name}`' for name in _handled_by(node))}"
            f" | {', '.join(f'`{name}`' for name in node.asks_for)} | {node.promise}"
            f" | {', '.join(causes) or '–'} |"
        )


def _handled_by(node: Node) -> list[str]:
    of_commands = [c.__name__ for c, handler in TABLE.commands.items() if handler is node.handler]
    of_events = [e.__name__ for e, listed in EVENTS.items() if _listed(node, listed)]
    return of_commands + of_events


def _listed(node: Node, listed: Iterable[Any]) -> bool:
    return node.handler in map(handler_of, listed)


def _name(subscriber: Any) -> str:
    return handler_of(subscriber).__name__


def _arrow(subscriber: Any) -> str:
    return "-- later -->" if isinstance(subscriber, Later) else "-->"


def _id(place: str) -> str:
    return re.sub(r"\W", "_", place)


def nodes() -> dict[str, Node]:
    """Return the handlers of commands and of events, by name, in the order of the tables."""
    of_events = map(handler_of, chain.from_iterable(EVENTS.values()))
    listed = [*TABLE.commands.values(), *of_events]
    return {node.name: node for node in map(Node, listed)}


def caused(handler: Handler[Any, Any]) -> set[str]:
    """Return the names of the events that it records, by whatever it calls of an aggregate."""
    return set().union(*(_recorded(call) for call in _calls(_tree(handler))))


def _calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what a function calls of something else: the first and the last name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            first, *_ = ast.unparse(node.func).partition(".")
            yield first, node.func.attr


def _recorded(call: tuple[str, str]) -> set[str]:
    """Return the events that are recorded by what is called, and by what that calls."""
    first, name = call
    if first == "uow":  # repositories record nothing
        return set()
    found = aggregates()
    named = [aggregate for aggregate in found if aggregate.__name__ == first]
    methods = [vars(each)[name] for each in named or found if name in vars(each)]
    return set().union(*map(recorded_in, methods))


@cache
def aggregates() -> list[type[Aggregate]]:
    """Return the aggregates of all modules of the domain."""
    names = (module.name for module in iter_modules(domain.__path__, f"{domain.__name__}."))
    found = (message_types(import_module(name), Aggregate) for name in names)  # type: ignore[type-abstract]
    return [*dict.fromkeys(chain.from_iterable(found))]


def recorded_in(method: Any) -> set[str]:
    """Return the names of the events that a method of an aggregate records, or what it calls."""
    if not callable(getattr(method, "__func__", method)):
        return set()
    tree = _tree(getattr(method, "__func__", method))
    made = {name for first, name in _calls(tree) if first == "events"}
    return made.union(*(_recorded(call) for call in _calls(tree) if call[0] == "self"))


def _tree(function: Callable[..., object]) -> ast.AST:
    return ast.parse(dedent(inspect.getsource(function)))
