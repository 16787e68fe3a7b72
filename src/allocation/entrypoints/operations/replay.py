"""The command that owes past events to a handler."""

import sys
from collections.abc import Collection

import click

from allocation.adapters.operations import replaying
from allocation.adapters.operations.exceptions import EffectOutside
from allocation.adapters.operations.replaying import Replay
from allocation.adapters.wire import wire_name
from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.domain.exceptions import InvalidValue
from allocation.entrypoints.cli.application import Options, counted, set_up
from allocation.entrypoints.operations.duration import Duration
from allocation.entrypoints.operations.progress import progress
from allocation.entrypoints.output import say
from allocation.entrypoints.running import with_application
from allocation.service_layer.messagebus import MessageBus


@click.command()
@click.argument("handler")
@click.option("--event-type", "types", multiple=True, metavar="TYPE", help="Only these events.")
@click.option("--since", type=Duration(), help="Only as far back as this, such as 30d.")
@click.option("--again", is_flag=True, help="What it has done, too: it does all of it once more.")
@click.option("--outside-effects", is_flag=True, help="Even if it sends something, for the past.")
@click.option("--dry-run", is_flag=True, help="Only say how many deliveries it would be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--drop", is_flag=True, help="Forget a replay of this handler that was interrupted.")
@click.pass_obj
def replay(
    options: Options,
    /,
    handler: str,
    types: tuple[str, ...],
    since: float | None,
    again: bool,
    outside_effects: bool,
    **answers: bool,
) -> None:
    """Owe past events to HANDLER: those that it was never owed, as when it is new.

    Workers do the work, while nothing else is due. Interrupted and repeated, it goes on where it
    was. What HANDLER still owes, and what a person has discarded, stays as it is. What processes
    commit that do not know HANDLER is not owed by itself: replace them first.
    """
    settings = set_up(options)
    if answers["drop"]:
        with_application(settings, lambda a: replaying.drop(a.database, handler))
        say(f"the replay of {handler} is forgotten; what it has made due stays due")
        return

    async def look(application: Application) -> tuple[Replay, bool, int]:
        bus, database = application.bus, application.database
        wanted = replay_of(bus, handler, types, since=since, again=again)
        if not (outside_effects or bus.registry.events[handler].has_uow):
            raise EffectOutside(handler)
        going_on = await replaying.is_under_way(database, wanted)
        return wanted, going_on, await replaying.count(database, wanted)

    wanted, going_on, count = with_application(settings, look)
    way = "; it goes on where it was" if going_on else ""
    say(f"{counted(count)} of past events to {handler}{way}")
    if not answers["dry_run"] and is_wanted(count, yes=answers["yes"]):
        _carry_out(settings, wanted, count)


def replay_of(
    bus: MessageBus, handler: str, types: Collection[str], *, since: float | None, again: bool
) -> Replay:
    """Return the replay that was asked for.

    :raises InvalidValue: if no such handler of events can run here, or it has no such events
    """
    bound = {name: b for name, b in bus.registry.events.items() if name == b.name}
    if handler not in bound:
        problem = f"{handler!r} is no handler of events that can run here: none of "
        raise InvalidValue("handler", problem + ", ".join(sorted(bound)))
    subscribed = bus.envelope_factory.subscriptions.items()
    its_types = [wire_name(event) for event, names in subscribed if handler in names]
    for unknown in set(types) - set(its_types):
        problem = f"{unknown!r} is none of those of {handler}: {', '.join(its_types)}"
        raise InvalidValue("event type", problem)
    return Replay(
        handler=handler,
        known_as=[name for name, b in bus.registry.events.items() if b.name == handler],
        event_types=list(types) or its_types,
        since=since,
        again=again,
    )


def is_wanted(count: int, *, yes: bool) -> bool:
    """Ask a person, if there is one, and something to ask about."""
    if yes or not count or not sys.stdin.isatty():
        return True
    return click.confirm("Go on?", err=True)


def _carry_out(settings: Settings, wanted: Replay, count: int) -> None:
    try:
        with progress("replaying", count) as told:
            due = with_application(settings, lambda a: replaying.run(a.database, wanted, told))
    except KeyboardInterrupt as error:
        error.add_note("repeat it, and it goes on where it was")
        raise
    say(f'{counted(due)} due now; run "allocation worker"')
