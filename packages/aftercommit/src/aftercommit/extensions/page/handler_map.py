"""The content of the map: the handlers at run time, what they handle, where they are defined."""

from contextlib import suppress
from inspect import cleandoc, getsource
from typing import Any

from anyio import to_thread

from aftercommit.handler_binding import BoundHandler
from aftercommit.process.application import Application


async def handler_map(application: Application) -> dict[str, Any]:
    """Return commands and events by wire name, each with its handlers; and all these handlers.

    Also return which of these commands the messages of other services become.
    """
    bus, registry = application.bus, application.bus.registry
    inbound = application.subscriptions()
    subscriptions, name_of = bus.envelopes.subscriptions, bus.envelopes.codec.name_of
    known = (*registry.commands.values(), *registry.events.values())
    return {
        "commands": {name_of(type_): [h.name] for type_, h in registry.commands.items()},
        "events": {name_of(type_): list(names) for type_, names in subscriptions.items()},
        "sources": {
            each.source: [name_of(command) for command in each.commands()] for each in inbound
        },
        "handlers": await to_thread.run_sync(
            lambda: {
                **{
                    each.source: _told(each.translate) | {"origin": each.origin} for each in inbound
                },
                **{each.name: _described(each) for each in known},
            }
        ),
    }


def _described(handler: BoundHandler) -> dict[str, Any]:
    return {
        **_told(handler.handler),
        "uow": handler.is_transactional,
        "outside": sorted(handler.ports),
    }


def _told(function: Any) -> dict[str, Any]:
    file = function.__module__.replace(".", "/")
    source = ""
    with suppress(OSError, TypeError):
        source = getsource(function)
    return {
        "about": cleandoc(function.__doc__ or ""),
        "place": f"{file}.py:{function.__code__.co_firstlineno}",
        "source": source,
        "outside": [],
    }
