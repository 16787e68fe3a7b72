"""Draws what handles what, for docs/wiring.md: from the tables, the signatures and the model.

Which events a handler causes is in no table: it calls methods of aggregates, and those record them.
A test compares that with what is recorded when the program runs.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from allocation.domain import events, model
from allocation.domain.events import Event
from allocation.domain.model import Aggregate
from allocation.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation.service_layer.wiring import Handler, types_in

OUTSIDE = {"notifications": "e-mail", "publisher": "other services"}
ONCE = "exactly once in effect"
KEYS = {  # what comes again with each attempt
    "idempotency_key": "at least once, with the same `idempotency_key`",
    "envelope": "at least once, with the same id of the event",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A handler, as the map shows it."""

    handler: Handler

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
        """What it is promised, as `wiring.py` reads it in its signature."""
        if "uow" in self.asks_for:
            return ONCE
        keys = [promise for name, promise in KEYS.items() if name in self.asks_for]
        return keys[0] if keys else "at least once, and nothing tells a repetition"

    @property
    def causes(self) -> list[type[Event]]:
        """The events that the aggregates record which it asks."""
        return [
            event for event in types_in(events, Event) if event.__name__ in caused(self.handler)
        ]


def picture() -> Iterator[str]:
    """Yield the map: commands, their handlers, events, theirs, and the world outside."""
    found = nodes()
    yield "```mermaid"
    yield "flowchart LR"
    yield from (f"    {command.__name__}[/{command.__name__}/]" for command in COMMAND_HANDLERS)
    yield from (f"    {event.__name__}([{event.__name__}])" for event in EVENT_HANDLERS)
    yield from (f"    {_id(place)}{{{{{place}}}}}" for place in OUTSIDE.values())
    for command, handler in COMMAND_HANDLERS.items():
        yield f"    {command.__name__} --> {Node(handler).name}"
    for node in found.values():
        yield from (f"    {node.name} --> {event.__name__}" for event in node.causes)
    for event, listed in EVENT_HANDLERS.items():
        yield from (f"    {event.__name__} --> {Node(handler).name}" for handler in listed)
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
        causes = [*(f"`{event.__name__}`" for event in node.causes), *node.effects]
        yield (
            f"| `{node.name}` | {', '.join(f'`{name}`' for name in _handled_by(node))}"
            f" | {', '.join(f'`{name}`' for name in node.asks_for)} | {node.promise}"
            f" | {', '.join(causes) or '–'} |"
        )


def _handled_by(node: Node) -> list[str]:
    of_commands = [c.__name__ for c, handler in COMMAND_HANDLERS.items() if handler is node.handler]
    of_events = [e.__name__ for e, listed in EVENT_HANDLERS.items() if node.handler in listed]
    return of_commands + of_events


def _id(place: str) -> str:
    return re.sub(r"\W", "_", place)


def nodes() -> dict[str, Node]:
    """Return the handlers of commands and of events, by name, in the order of the tables."""
    listed = [*COMMAND_HANDLERS.values(), *(h for of in EVENT_HANDLERS.values() for h in of)]
    return {node.name: node for node in map(Node, listed)}


def caused(handler: Handler) -> set[str]:
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
    aggregates = types_in(model, Aggregate)  # type: ignore[type-abstract]  # its children are meant
    if first == "uow":  # repositories record nothing
        return set()
    if named := [aggregate for aggregate in aggregates if aggregate.__name__ == first]:
        aggregates = named
    methods = [vars(aggregate)[name] for aggregate in aggregates if name in vars(aggregate)]
    return set().union(*map(recorded_in, methods))


def recorded_in(method: Any) -> set[str]:
    """Return the names of the events that a method of an aggregate records, or what it calls."""
    if not callable(getattr(method, "__func__", method)):
        return set()
    tree = _tree(getattr(method, "__func__", method))
    made = {name for first, name in _calls(tree) if first == "events"}
    return made.union(*(_recorded(call) for call in _calls(tree) if call[0] == "self"))


def _tree(function: Callable[..., object]) -> ast.AST:
    return ast.parse(dedent(inspect.getsource(function)))
