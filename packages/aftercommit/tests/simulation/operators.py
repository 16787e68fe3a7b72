"""What operators decide meanwhile: in processes of their own, or in others, as by their page."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from uuid import UUID

from aftercommit import Application
from aftercommit.extensions.operations.decisions import Decision
from aftercommit_tests.inside.errors import DeliveryNotFound, HandlerNotFound, OrderedHandler
from aftercommit_tests.inside.operations import (
    all_names,
    delivery_admin,
    erasing_events,
    handler_pauses,
    limit_admin,
    replay_of,
    retention,
)

from simulation import shop
from simulation.broker import SOURCE
from simulation.ledger import Ledger
from simulation.plan import Request
from simulation.rows import Row, caller, number_of
from simulation.world import Process, World

DECISION = Decision(by="an operator")
ERASED = "erased on request"
NO_ADVANCE = lambda count: None  # noqa: E731


class Operator:
    """Decides one thing, about what is there at that moment."""

    def __init__(self, world: World, ledger: Ledger, what: Request, names: Sequence[str]) -> None:
        self._world, self._ledger, self.what, self._names = world, ledger, what, names
        random = world.random
        self._handler = random.choice(names)
        if ledger.paused and what == "resume":
            self._handler = random.choice(sorted(ledger.paused))
        if what == "replay" and (new := [each for each in names if each in shop.NEW]):
            self._handler = random.choice([self._handler, *new])
        self._order = random.choice([*ledger.rows.values()]).event_id if ledger.rows else None

    async def decide(self, process: Process, application: Application) -> None:
        """Do what was decided."""
        database = application.database
        tell = self._world.story.tell
        match self.what:
            case "retry" | "discard" if row := self._delivery():
                tell(process, f"decides to {self.what} {self._ledger.name(row.key)}")
                decide = getattr(delivery_admin, self.what)
                with suppress(DeliveryNotFound):
                    await decide(database, row.event_id, row.handler, self._asked_for(row))
            case "pause" | "resume":
                tell(process, f"decides to {self.what} {self._handler}")
                with suppress(HandlerNotFound):
                    names: Collection[str] = [self._handler]
                    if self._handler != SOURCE:
                        names = all_names(application.handlers, self._handler)
                    why = self._asked_for(self._delivery())
                    await getattr(handler_pauses, self.what)(database, names, why)
            case "prune":
                seconds = self._world.random.uniform(1, 60)
                tell(process, f"decides to prune what is older than {seconds:.0f} s")
                self._ledger.prunes(older_than=seconds)
                await retention.prune(database, older_than=seconds, decision=DECISION, pause=0.1)
            case "replay":
                await self._replay(process, application)
            case "limit":
                await self._set_limit(process, application)
            case "erase" if self._order:
                await self.erase(process, application, self._order)

    def _asked_for(self, row: Row | None) -> Decision:
        """Return a decision that says for whom it is made, if nobody has asked to be erased."""
        order, _ = number_of(self._ledger.events[row.event_id][1]) if row else (0, 0)
        if order in {number_of(each)[0] for each in self._ledger.erased}:
            return DECISION
        return Decision(by=f"operator of {caller(order)}", reason=f"{caller(order)} has asked")

    def _delivery(self) -> Row | None:
        """Choose one, rather where something can go wrong: that others run, or wait for."""
        rows, random = self._ledger.rows.values(), self._world.random
        outstanding = [row for row in rows if row.is_open]
        kinds = [
            [row for row in outstanding if self._ledger.waits(row)],
            [row for row in outstanding if row.owner],
            [row for row in outstanding if row.lane and not row.blocked],
            outstanding,
        ]
        some = next((each for each in random.sample(kinds, len(kinds)) if each), None)
        return random.choice(some) if some else None

    async def _replay(self, process: Process, application: Application) -> None:
        name, bus = self._handler, application.bus
        if name not in bus.registry.events or bus.registry.events[name].name != name:
            return
        other = shop.OTHER_NAMES.get(name)
        if other in self._names and other not in bus.registry.events:
            return  # an old process does not know what is done by the new name, and would repeat it
        again = self._world.chance(0.5)
        is_careful = self._world.chance(0.7)  # as the documentation says of ordered handlers
        how = ", again" if again else ", while it is paused" if is_careful else ""
        self._world.story.tell(process, f"decides to replay {name}{how}")
        if is_careful:
            await handler_pauses.pause(application.database, [name], DECISION)
        with suppress(OrderedHandler):
            await replay(application, self._ledger, name, again=again)
        if is_careful:
            await handler_pauses.resume(application.database, [name], DECISION)

    async def _set_limit(self, process: Process, application: Application) -> None:
        random, limits = self._world.random, application.bus.delivery_store.limits
        numbers = {
            "at_once": random.choice([None, 1, 3]),
            "per_minute": random.choice([None, 12, 60]),
        }
        if limits:
            self._world.story.tell(process, f"decides about the limit: {numbers}")
            await limit_admin.set_limit(application.database, limits, "cards", DECISION, numbers)

    async def erase(self, process: Process, application: Application, event_id: UUID) -> None:
        _, subject = self._ledger.events[event_id]
        self._ledger.erased.add(subject)  # perhaps: nobody may hear of the COMMIT
        self._world.story.tell(process, f"decides to erase order {number_of(subject)[0]}")
        database = application.database
        async with database.write_transaction() as transaction:
            found = await erasing_events.events_with(transaction, subject)
            about = [each for each in found if each.subject == subject]
            with_effects = erasing_events.handlers_with_effects(application)
            self._ledger.decided.erases(subject, with_effects)
            reason = {"discard": with_effects, "reason": ERASED, "decision": DECISION}
            await erasing_events.end_deliveries(transaction, database, about, **reason)  # type: ignore[arg-type]
            redacted = {"customer": "erased"}
            await erasing_events.redact_events(transaction, about, redacted, reason=ERASED)
            mentions = [caller(number_of(subject)[0])]
            await erasing_events.redact_mentions(transaction, mentions)
            await transaction.commit()


async def replay(
    application: Application, ledger: Ledger, name: str, *, again: bool = False
) -> None:
    """Replay all past events to a handler, perhaps again, and check that none is left out.

    :raises OrderedHandler: if it is ordered, and not paused
    """
    database, world = application.database, ledger.world
    replayed = replay_of(application.bus, name, (), since=0.0, until=world.wall_clock, again=again)
    if again:
        ledger.decided.replays_again(replayed.aliases)
    past, begun = ledger.stored_events, world.now
    await replayed.ensure_possible(database)
    await replayed.run(database, DECISION, NO_ADVANCE)
    ledger.decided.check_replay(replayed, past, begun)


async def set_right(application: Application, ledger: Ledger) -> None:
    """Resume and retry whatever waits for an operator."""
    for name in sorted(ledger.paused):
        await handler_pauses.resume(application.database, [name], DECISION)
    await delivery_admin.retry_all_parked(application.database, DECISION)
