"""What the map shows: which handlers there are at run time, what for, and where they stand."""

from contextlib import suppress
from inspect import cleandoc, getsource
from typing import Any

from anyio import to_thread

from aftercommit.bus import MessageBus
from aftercommit.handler_binding import BoundHandler


async def handler_map(bus: MessageBus) -> dict[str, Any]:
    """Return commands and events by wire name, each with its handlers; and all these handlers."""
    registry = bus.registry
    subscriptions, name_of = bus.envelopes.subscriptions, bus.envelopes.codec.name_of
    known = (*registry.commands.values(), *registry.events.values())
    return {
        "commands": {name_of(type_): [h.name] for type_, h in registry.commands.items()},
        "events": {name_of(type_): list(names) for type_, names in subscriptions.items()},
        "handlers": await to_thread.run_sync(lambda: {h.name: _described(h) for h in known}),
    }


def _described(handler: BoundHandler) -> dict[str, Any]:
    function: Any = handler.handler
    file = function.__module__.replace(".", "/")
    source = ""
    with suppress(OSError, TypeError):
        source = getsource(function)
    return {
        "about": cleandoc(function.__doc__ or ""),
        "place": f"{file}.py:{function.__code__.co_firstlineno}",
        "source": source,
        "uow": handler.is_transactional,
        "outside": sorted(handler.ports),
    }
