"""What an entrypoint works with, when the composition root has opened and wired it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aftercommit.bus import MessageBus
from aftercommit.errors import raise_if_any
from aftercommit.ports import InboundSource, Publisher
from aftercommit.sql.database import Database


@dataclass(frozen=True, slots=True)
class Application:
    """What an entrypoint works with.

    `handlers` has all names of handlers of events, old ones, too, also of those it cannot run; and
    what each is called now.
    `projections` names those among them that only write a read model.

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
    """Returns what of other services becomes a command here."""
    readiness_problems: dict[object, str] = field(default_factory=dict)
    """What keeps the process from being ready besides the database: services write it here."""
    degradations: dict[object, str] = field(default_factory=dict)
    """What does not work although the process is ready: services write it here, too."""

    def checked_subscriptions(self) -> Sequence[InboundSource]:
        """Return what of other services becomes a command here.

        :raises WiringError: if that is a command that has no handler
        """
        for each in (found := self.subscriptions()):
            unhandled = {*each.commands()} - self.bus.registry.commands.keys()
            problem = f"{each.source} returns commands that have no handler"
            raise_if_any(problem, [command.__name__ for command in unhandled])
        return found
