"""What happens instead of a handler that has failed for good, or that is too late.

Each row of `ENDS` is a way in which a handler ends for good; the tests below it say what becomes of
such a delivery when processes die, operators decide, and other programs run beside it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from aftercommit import GivenUp, Later, Limited, Ordered, Otherwise, Refused, Unavailable

from aftercommit_tests.builders import MARIA, PLAIN, POLICY, a_command
from aftercommit_tests.inside.claims import Failure
from aftercommit_tests.inside.operations import delivery_admin
from aftercommit_tests.inside.stored import commands, states, tables
from aftercommit_tests.misbehaving import on_made
from aftercommit_tests.things.domain import RenameThing, ThingMade
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

LAMP = a_command("lamp")
HOUR = timedelta(hours=1)
ATTEMPTS = 3


class CardRefused(Refused):
    """The bank says no."""


@dataclass
class Charge:
    """A handler that fails with this error, and what happens instead, which may fail, too."""

    error: Exception | None
    broken: Exception | None = None
    calls: int = 0
    told: list[tuple[GivenUp, str | None]] = field(default_factory=list)

    async def charge(self, event: ThingMade) -> None:
        """Fail."""
        self.calls += 1
        if self.error:
            raise self.error

    async def give_up(
        self, event: ThingMade, failure: GivenUp, last_error: str | None
    ) -> RenameThing:
        """Let the thing say why."""
        self.told.append((failure, last_error))
        if self.broken:
            raise self.broken
        return RenameThing(thing_id=event.thing_id, name=f"instead: {failure.reason}")

    @property
    def reasons(self) -> list[GivenUp]:
        """What it was told."""
        return [failure for failure, _ in self.told]


def wire(
    world: World, charge: Charge, wrap: Callable[[Any], Any] = lambda each: each, **how: Any
) -> None:
    """Let `charge` handle new things."""

    async def charge_card(event: ThingMade) -> None:
        await charge.charge(event)

    async def give_up(event: ThingMade, failure: GivenUp, last_error: str | None) -> RenameThing:
        return await charge.give_up(event, failure, last_error)

    world.event_handlers = on_made(wrap(Otherwise(charge_card, give_up, **how)))
    world.policy = replace(POLICY, max_attempts=ATTEMPTS)
    world.wire()


async def row(world: World) -> Any:
    """Return the one delivery to `charge_card`."""
    rows = await world.rows(*tables.deliveries.c, states.delivery_state(world.database.clock))
    [found] = [each for each in rows if each.handler == "charge_card"]
    return found


async def state(world: World) -> str:
    """Return its state."""
    return str((await row(world))[-1])


async def work(world: World, *handlers: str) -> Any:
    """Work as another process does."""
    claims = await world.delivery_store().claim(10, handlers or ["charge_card"])
    return await world.bus.run(claims)


async def ends_of(world: World) -> list[tuple[str, int]]:
    """Return how claims have ended that did not succeed, the oldest first."""
    return [(each.outcome, each.attempt) for each in await world.ends()]


async def tried_again(world: World) -> None:
    """Let each attempt fail, until none is left."""
    for _ in range(ATTEMPTS):
        await world.move_clock(100)
        await work(world)


async def killed(world: World) -> None:
    """Kill the process in each attempt."""
    for _ in range(ATTEMPTS - 1):
        await world.end_leases()
        await world.delivery_store().claim(1, ["charge_card"])
    await world.end_leases()


async def an_hour_later(world: World) -> None:
    """Let the time be over, with a process that never began."""
    await world.move_clock(3601)


async def at_once(world: World) -> None:
    """Let no time pass."""


@dataclass(frozen=True)
class End:
    """How the handler ends for good, and what is known of that."""

    error: Exception | None
    reason: GivenUp
    last_error: str | None
    history: Sequence[tuple[str, int]]
    happens: Callable[[World], Awaitable[None]] = at_once
    is_run: bool = True  # the first attempt, here
    how: Mapping[str, Any] = field(default_factory=dict)


FAILED, LOST = "failed", "lease_expired"
ENDS = {
    "a permanent error": End(
        CardRefused("no"),
        GivenUp("refused", "refused", 1),
        "CardRefused: no",
        [(FAILED, 1)],
    ),
    "no attempt is left": End(
        ValueError("bug"),
        GivenUp("attempts", "defect", ATTEMPTS),
        "ValueError: bug",
        [(FAILED, 1), (FAILED, 2), (FAILED, 3)],
        tried_again,
    ),
    "killed in the last attempt": End(
        None,
        GivenUp("unfinished", None, ATTEMPTS),
        None,
        [(LOST, 1), (LOST, 2), (LOST, 3)],
        killed,
        is_run=False,
    ),
    "its time is over before an attempt has ended": End(
        None,
        GivenUp("too late", None, 1),
        None,
        [(LOST, 1)],
        an_hour_later,
        is_run=False,
        how={"within": HOUR},
    ),
    "an outage lasts until its time is over": End(
        Unavailable("the bank"),
        GivenUp("too late", None, 0),
        "Unavailable: the bank",
        [(FAILED, 1)],
        an_hour_later,
        how={"within": HOUR},
    ),
    "its time is over between two attempts": End(
        ValueError("bug"),
        GivenUp("too late", None, 1),
        "ValueError: bug",
        [(FAILED, 1)],
        an_hour_later,
        how={"within": lambda settings: 3600.0},
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_the_command_of_instead_ends_the_delivery(world: World, end: End) -> None:
    """It is executed once, in the transaction that ends the delivery, and why is still known."""
    wire(world, charge := Charge(end.error), **end.how)

    committed = await world.bus.execute(LAMP)
    if end.is_run:
        await world.bus.run(committed.claims)
    await end.happens(world)
    await work(world)

    assert charge.told == [(end.reason, end.last_error)]
    assert await world.things() == [f"instead: {end.reason.reason}"]
    assert (await state(world), (await row(world)).last_error) == ("given_up", end.last_error)
    assert await ends_of(world) == end.history
    sources = [each.source for each in await world.rows(*commands.c) if each.causation_id]
    assert sources == ["charge_card"]
    assert await world.deliveries() == {}
    await world.end_leases()
    await work(world)
    assert charge.calls == sum(what == FAILED for what, _ in end.history)
    assert len(charge.told) == 1


async def test_the_next_attempt_is_not_later_than_the_end(world: World) -> None:
    """With the longest pause of an hour, the end would come up to an hour late."""
    wire(world, Charge(ValueError("bug")), within=timedelta(seconds=0.5))

    await world.bus.handle(LAMP)

    [found] = (await world.deliveries()).values()
    assert found.available_at == 0.5


async def test_the_time_begins_when_a_delayed_delivery_is_due(world: World) -> None:
    """A reminder after a day, which may take an hour, is not too late after a day."""
    day = timedelta(days=1)
    wire(world, charge := Charge(None), wrap=lambda each: Later(each, after=day), within=HOUR)
    await world.bus.execute(LAMP)

    await world.move_clock(day.total_seconds() + 1)
    await work(world)

    assert (charge.calls, charge.told, await state(world)) == (1, [], "done")


@pytest.mark.parametrize("commits", [False, True], ids=["before", "after"])
async def test_it_happens_once_if_the_process_is_killed(world: World, commits: bool) -> None:
    """A kill before the commit undoes all of it; after that, nobody claims the delivery."""
    wire(world, charge := Charge(CardRefused("no")))
    await world.bus.handle(LAMP)
    claims = await world.delivery_store().claim(1, ["charge_card"])
    if commits:
        await world.bus.run(claims)

    await world.end_leases()
    await work(world)

    assert charge.calls == 1
    assert await world.things() == ["instead: refused"]
    assert await ends_of(world) == [(FAILED, 1)] + [(LOST, 1)] * (not commits)


async def test_the_process_that_was_too_slow_ends_nothing(world: World) -> None:
    """The command of a frozen process is rolled back, because its token is old."""
    wire(world, Charge(CardRefused("no")))
    await world.bus.handle(LAMP)
    frozen = await world.delivery_store().claim(1, ["charge_card"])
    await world.end_leases()
    await work(world)

    await world.bus.run(frozen)

    assert len([each for each in await world.rows(*commands.c) if each.causation_id]) == 1


async def test_a_failure_after_the_end_of_a_claim_gives_up_nothing(world: World) -> None:
    """Another process may just succeed."""
    wire(world, Charge(None))
    [claim] = (await world.bus.execute(LAMP)).claims
    await world.end_leases()
    await world.delivery_store().claim(1, ["charge_card"])
    error = CardRefused("no")
    late = Failure(
        delivery=claim, error=error, retry_in=0.0, given_up=GivenUp("refused", "refused", 1)
    )

    with pytest.raises(Exception, match="has ended"):
        await world.delivery_store().record_failure(late)

    assert (await row(world)).given_up is None


async def test_a_handler_with_uow_is_rolled_back_before(world: World) -> None:
    """So what happens instead finds the state as if the handler had never run."""

    async def write(event: ThingMade, uow: UnitOfWork) -> None:
        uow.write("half of it")
        raise CardRefused("no")

    async def give_up(event: ThingMade, uow: UnitOfWork, failure: GivenUp) -> None:
        uow.write(failure.words)

    world.event_handlers = on_made(Otherwise(write, give_up))
    world.wire()
    await world.bus.handle(LAMP)
    await work(world, "write")

    assert await world.lines() == ["refused after 1 attempt"]
    assert await world.deliveries() == {}


@pytest.mark.parametrize("wrap", [Ordered, lambda each: Limited(each, at_once=1)])
async def test_it_stands_in_other_entries(world: World, wrap: Callable[[Any], Any]) -> None:
    """In a lane it blocks the next until it has ended; what has a limit is held by it."""
    wire(world, Charge(CardRefused("no")), wrap=wrap)
    await world.bus.handle(LAMP)
    for _ in range(2):
        await work(world)

    assert await world.things() == ["instead: refused"]
    assert await world.deliveries() == {}


async def test_the_next_of_a_lane_may_be_too_late_when_its_turn_comes(world: World) -> None:
    """No attempt of the handler begins then, although its lane goes on in this process."""
    wire(world, charge := Charge(None), wrap=Ordered, within=HOUR)
    world.keys = {ThingMade: lambda event: "one"}
    world.wire()
    [first] = (await world.bus.execute(LAMP)).claims
    await world.bus.execute(a_command("desk"))
    await world.move_clock(3601)
    await world.delivery_store().release([first])
    for _ in range(3):
        await work(world)

    assert charge.calls == 0
    assert [each.reason for each in charge.reasons] == ["too late"] * 2


async def test_a_paused_handler_is_not_given_up_before_it_is_resumed(world: World) -> None:
    """An operator who pauses a handler wants nothing to happen, and that includes the end."""
    wire(world, charge := Charge(None), within=HOUR)
    claimed = (await world.bus.execute(LAMP)).claims
    await world.delivery_store().release(claimed)
    await world.pause("charge_card")
    await world.move_clock(3601)

    await work(world)
    assert (charge.told, await state(world)) == ([], "paused")

    await world.resume("charge_card")
    await work(world)
    assert [each.reason for each in charge.reasons] == ["too late"]


async def test_other_programs_leave_it_to_those_that_know_what_to_do(world: World) -> None:
    """An old version of the table would run the handler again, after it was given up."""
    wire(world, charge := Charge(CardRefused("no")))
    await world.bus.handle(LAMP)
    world.instead = {}
    old = world.delivery_store()

    assert await old.claim(10, ["charge_card"]) == []
    assert await old.seconds_until_due(["charge_card"]) is None

    world.wire()
    await work(world)
    assert charge.reasons == [GivenUp("refused", "refused", 1)]


@pytest.mark.parametrize("then", ["retry", "discard"])
async def test_it_fails_itself_and_an_operator_decides(world: World, then: str) -> None:
    """It has attempts of its own; then the delivery is parked, with both errors."""
    wire(world, charge := Charge(CardRefused("no"), broken=ValueError("bug")))
    await world.bus.handle(LAMP)
    for _ in range(ATTEMPTS):
        await work(world)
        await world.move_clock(100)
    found = await row(world)
    assert (charge.calls, len(charge.told), await state(world)) == (1, ATTEMPTS, "parked")
    assert found.last_error == "ValueError: bug; before that: CardRefused: no"
    assert {error for _, error in charge.told} == {"CardRefused: no"}

    charge.broken = None
    decide = getattr(delivery_admin, then)
    await decide(world.database, found.event_id, "charge_card", MARIA)
    await work(world)

    assert charge.calls == 1
    assert await world.things() == (["instead: refused"] if then == "retry" else ["lamp"])
    assert await state(world) == ("given_up" if then == "retry" else "discarded")


async def test_killed_in_its_last_attempt_it_is_parked(world: World) -> None:
    """With what was known of the handler's error."""
    wire(world, Charge(CardRefused("no")))
    await world.bus.handle(LAMP)
    for _ in range(ATTEMPTS + 1):
        await world.delivery_store().claim(1, ["charge_card"])
        await world.end_leases()

    found = await row(world)

    assert found.parked_at
    assert found.last_error == "the last attempt did not finish; before that: CardRefused: no"


async def test_an_operator_who_retries_the_handler_is_not_too_late(world: World) -> None:
    """A delivery that was parked before it had an Otherwise has its attempts, and no end."""
    wire(world, charge := Charge(None), within=HOUR)
    await world.bus.execute(LAMP)
    await world.move_clock(3601)
    event_id = (await row(world)).event_id
    await delivery_admin.retry(world.database, event_id, "charge_card", MARIA)

    await work(world)

    assert (charge.calls, charge.told, await state(world)) == (1, [], "done")


async def test_a_replay_leaves_it_out(world: World) -> None:
    """Or a card would be charged for an order that is cancelled."""
    wire(world, charge := Charge(CardRefused("no")))
    await world.bus.handle(LAMP)
    await work(world)

    await world.execute(states.replayed(world.database.clock, tables.deliveries.c.handler).update())

    assert await world.deliveries() == {}
    assert charge.calls == 1


async def test_handlers_without_it_are_parked_as_before(world: World) -> None:
    """The claim's statement is the same for all of them."""
    wire(world, Charge(CardRefused("no")))
    made = world.event_handlers[ThingMade]
    world.event_handlers = {**PLAIN, ThingMade: [*made, *PLAIN[ThingMade]]}
    world.wire()
    await world.bus.execute(LAMP)
    for _ in range(ATTEMPTS):
        await world.end_leases()
        await world.delivery_store().claim(10, ["announce", "charge_card"])
    await world.end_leases()
    await work(world, "announce", "charge_card")

    [announced] = [
        each for each in await world.rows(*tables.deliveries.c) if each.handler == "announce"
    ]
    assert announced.parked_at
    assert announced.last_error == "the last attempt did not finish"
