"""What the map shows: which handlers there are at run time, what for, and where they stand."""

from collections.abc import Iterator
from inspect import cleandoc, getsource
from typing import Any

from anyio import to_thread

from allocation.adapters.wire import wire_name
from allocation.service_layer.messagebus import MessageBus
from allocation.service_layer.wiring import BoundHandler


async def wiring(bus: MessageBus) -> dict[str, Any]:
    """Return commands and events by wire name, each with its handlers; and all these handlers."""
    registry = bus.registry
    subscriptions = bus.envelope_factory.subscriptions
    known = {h.name: h for h in (*registry.commands.values(), *registry.events.values())}
    return {
        "commands": {wire_name(type_): [h.name] for type_, h in registry.commands.items()},
        "events": {wire_name(type_): list(names) for type_, names in subscriptions.items()},
        "handlers": await to_thread.run_sync(lambda: dict(_described(known))),
    }


def _described(handlers: dict[str, BoundHandler]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, handler in handlers.items():
        function: Any = handler.handler
        file = function.__module__.partition(".")[2].replace(".", "/")
        yield (
            name,
            {
                "about": cleandoc(function.__doc__ or ""),
                "place": f"{file}.py:{function.__code__.co_firstlineno}",
                "source": _source(function),
                "uow": handler.has_uow,
                "outside": sorted(handler.ports),
            },
        )


def _source(function: Any) -> str:
    try:
        return getsource(function)
    except (OSError, TypeError):
        return ""
