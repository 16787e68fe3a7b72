"""What an entrypoint works with after the composition root has opened and wired it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftercommit.bus import MessageBus
from aftercommit.database.database import Database
from aftercommit.errors import HandlerNotFound, raise_if_any
from aftercommit.ports import InboundSource, Publisher
from aftercommit.schedules import Every


@dataclass(frozen=True, slots=True)
class Application:
    """An open application, with which entrypoints work.

    `handlers` maps all names of handlers of events, including old ones, and those that cannot run
    here, to the current names. `projections` names the handlers that only write a read model.

    >>> import anyio
    >>> from aftercommit import Application
    >>> from shop import views
    >>> from shop.entrypoints.app import APP
    >>> async def statistics(application: Application):
    ...     return await views.statistics(application.database)
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         return await statistics(application)
    >>> anyio.run(main)
    {'placed': 0, 'cancelled': 0}
    """

    bus: MessageBus
    database: Database
    publishers: Mapping[str, Publisher]
    handlers: Mapping[str, str]
    projections: Collection[str] = ()
    subscriptions: Callable[[], Sequence[InboundSource]] = tuple
    """Returns the messages of other services that become commands here."""
    every: Sequence[Every[Any]] = ()
    """Its schedules, whose events are stored by workers."""
    readiness_problems: dict[object, str] = field(default_factory=dict)
    """Reasons besides the database why the process is not ready; services write them."""
    degradations: dict[object, str] = field(default_factory=dict)
    """Problems that do not keep the process from being ready; services write them."""

    def checked_subscriptions(self) -> Sequence[InboundSource]:
        """Return the messages of other services that become commands here.

        :raises WiringError: if such a command has no handler
        """
        for each in (found := self.subscriptions()):
            unhandled = {*each.commands()} - self.bus.registry.commands.keys()
            problem = f"{each.source} returns commands that have no handler"
            raise_if_any(problem, [command.__name__ for command in unhandled])
        return found


def all_names(handlers: Mapping[str, str], *wanted: str) -> Collection[str]:
    """Return all names that handlers have and had, and by which their deliveries are stored.

    `handlers` maps each name to the current one.

    :raises HandlerNotFound: if there is no handler of a wanted name
    """
    if unknown := [each for each in wanted if each not in handlers]:
        raise HandlerNotFound(unknown[0], handlers)
    current = {handlers[each] for each in wanted}
    return [name for name, handler in handlers.items() if handler in current]
