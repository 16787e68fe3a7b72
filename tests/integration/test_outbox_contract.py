"""What every outbox promises: the fake's and each database's."""

from dataclasses import replace

import anyio
import pytest
from aftercommit.claims import Claim
from aftercommit.errors import DeliverySuperseded, Unavailable
from aftercommit.handler_table import Later
from aftercommit.sql.exceptions import DatabaseUnavailable
from anyio import current_time
from anyio.lowlevel import checkpoint

from tests.builders import HANDLER_NAMES, a_failure, an_envelope_factory
from tests.things import HANDLERS_OF_THING_MADE as HANDLERS
from tests.things import ThingMade, a_thing, announce, look_at, things_of, write_down
from tests.worlds import World, a_uow

pytestmark = pytest.mark.anyio


async def commit_an_event(world: World) -> dict[str, Claim]:
    """Commit one event, and return the first claims on its deliveries, by handler."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
    return {claim.handler: claim for claim in scope.committed.claims}


async def let_leases_end(world: World) -> None:
    await world.move_clock(world.policy.lease_seconds + 1)


async def handlers_owed(world: World) -> list[str]:
    return sorted(handler for _, handler in await world.deliveries())


async def test_nothing_is_claimed_while_its_lease_lasts(world: World) -> None:
    """The process that has committed holds the first one, and is still working on it."""
    await commit_an_event(world)
    assert await world.outbox().claim(10, HANDLER_NAMES) == []
    for row in (await world.deliveries()).values():
        assert row.available_at == pytest.approx(world.policy.lease_seconds, abs=5)
    await world.move_clock(world.policy.lease_seconds - 5)

    assert await world.outbox().claim(10, HANDLER_NAMES) == []


async def test_what_its_owner_left_behind_is_claimed_when_the_lease_ends(world: World) -> None:
    """The process died: any other takes the work over, with all that is known about the event."""
    first = await commit_an_event(world)
    await let_leases_end(world)

    claims = await world.outbox().claim(10, HANDLER_NAMES)

    assert sorted(claim.handler for claim in claims) == HANDLERS
    for claim in claims:
        assert claim.envelope == first[claim.handler].envelope
        assert isinstance(claim.envelope.event, ThingMade)
        assert claim.attempt == 2
        assert claim.idempotency_key == first[claim.handler].idempotency_key


async def test_a_claim_is_a_new_lease(world: World) -> None:
    """Two workers never hold the same delivery."""
    await commit_an_event(world)
    await let_leases_end(world)

    one, other = world.outbox(), world.outbox()
    assert len(await one.claim(10, HANDLER_NAMES)) == len(HANDLERS)
    assert await other.claim(10, HANDLER_NAMES) == []
    await let_leases_end(world)
    assert {claim.attempt for claim in await other.claim(10, HANDLER_NAMES)} == {3}


async def test_workers_that_claim_at_once_share_the_work(world: World) -> None:
    """Each delivery goes to exactly one of them."""
    for _ in range(5):
        await commit_an_event(world)
    await let_leases_end(world)
    claims: list[Claim] = []

    async def claim() -> None:
        outbox = world.outbox()
        while batch := await outbox.claim(3, HANDLER_NAMES):
            claims.extend(batch)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(claim)

    assert len(claims) == len({claim.idempotency_key for claim in claims})
    assert len(claims) == 5 * len(HANDLERS)


async def test_a_claim_takes_the_longest_due_first_and_no_more_than_asked(world: World) -> None:
    """Nothing waits for ever behind newer work."""
    old = await commit_an_event(world)
    await world.move_clock(1)
    await commit_an_event(world)
    await let_leases_end(world)

    claims = await world.outbox().claim(len(HANDLERS), HANDLER_NAMES)

    assert {claim.envelope.id for claim in claims} == {old["write_down"].envelope.id}


async def test_what_is_replayed_is_claimed_only_if_nothing_else_is_due(world: World) -> None:
    """However long it is due, and however much there is of it: what happens now waits for none."""
    past = await commit_an_event(world)
    await world.mark_as_replayed(past["write_down"].envelope.id)
    await world.move_clock(1)
    live = await commit_an_event(world)
    outbox = world.outbox()

    await world.move_clock(world.policy.lease_seconds - 1)
    assert await outbox.seconds_until_due(HANDLER_NAMES) == pytest.approx(0, abs=0.1)
    await let_leases_end(world)
    all_but_one = len(HANDLERS) - 1
    claims = [await outbox.claim(all_but_one, HANDLER_NAMES) for _ in range(4)]

    ids = [{claim.envelope.id for claim in some} for some in claims]
    (live_id,) = {delivery.envelope.id for delivery in live.values()}
    (past_id,) = {delivery.envelope.id for delivery in past.values()}
    assert ids == [{live_id}, {live_id}, {past_id}, {past_id}]
    assert [len(some) for some in claims] == [all_but_one, 1] * 2


async def test_what_is_replayed_is_claimed_while_nothing_else_is_due(world: World) -> None:
    """What is only owed later does not hold it up."""
    past = await commit_an_event(world)
    await world.mark_as_replayed(past["write_down"].envelope.id)
    await let_leases_end(world)
    await commit_an_event(world)

    claims = await world.outbox().claim(10, HANDLER_NAMES)

    assert {claim.envelope.id for claim in claims} == {past["write_down"].envelope.id}


async def test_a_claim_takes_only_what_its_process_can_do(world: World) -> None:
    """An older version, or a process without a broker, would only burn the attempts of others."""
    await commit_an_event(world)
    await world.move_clock(world.policy.lease_seconds + 1)
    outbox = world.outbox()

    claims = await outbox.claim(10, ["write_down"])

    assert [claim.handler for claim in claims] == ["write_down"]
    assert await outbox.claim(10, ["write_down"]) == []
    assert await outbox.seconds_until_due(["send_fax"]) is None
    others = {name for _, name in await world.deliveries()} - {"write_down"}
    untouched = [row for (_, n), row in (await world.deliveries()).items() if n in others]
    assert {row.attempts for row in untouched} == {1}


async def test_what_is_settled_is_history(world: World) -> None:
    """It is not owed any more, but it can be seen that it was, and at which attempt it was done."""
    first = await commit_an_event(world)
    done = first["announce"]

    await world.outbox().settle(done)

    assert await handlers_owed(world) == HANDLERS[1:]
    assert await world.finished() == {(done.envelope.id, done.handler): 1}
    await let_leases_end(world)
    assert done.handler not in [c.handler for c in await world.outbox().claim(10, HANDLER_NAMES)]


async def test_completions_at_once_all_count(world: World) -> None:
    """They may share a statement; none may be forgotten."""
    first = await commit_an_event(world)
    outbox = world.outbox()

    async with anyio.create_task_group() as group:
        for delivery in first.values():
            group.start_soon(outbox.settle, delivery)

    assert await handlers_owed(world) == []


async def test_a_rescheduled_delivery_is_due_after_its_pause(world: World) -> None:
    """Not before, and then at once."""
    first = await commit_an_event(world)
    outbox = world.outbox()

    error = OSError("mailbox full")
    await outbox.record_failure(a_failure(first["announce"], error, retry_in=100))

    row = (await world.deliveries())[first["announce"].envelope.id, "announce"]
    assert row.last_error == "OSError: mailbox full"
    assert row.available_at == pytest.approx(100, abs=5)
    await world.move_clock(95)
    assert "announce" not in [c.handler for c in await outbox.claim(10, HANDLER_NAMES)]
    await world.move_clock(10)
    assert [c.handler for c in await outbox.claim(10, HANDLER_NAMES)] == ["announce"]


async def test_a_parked_delivery_is_in_nobodys_way(world: World) -> None:
    """It is kept and visible, but not tried."""
    first = await commit_an_event(world)
    outbox = world.outbox()

    error = ValueError("no such mailbox")
    await outbox.record_failure(a_failure(first["announce"], error))

    row = (await world.deliveries())[first["announce"].envelope.id, "announce"]
    assert row.parked_at == pytest.approx(0, abs=5)
    assert row.last_error == "ValueError: no such mailbox"
    await let_leases_end(world)
    assert "announce" not in [c.handler for c in await outbox.claim(10, HANDLER_NAMES)]


async def test_a_released_delivery_is_available_at_once(world: World) -> None:
    """A worker that stops neither makes others wait nor uses attempts up."""
    first = await commit_an_event(world)
    outbox = world.outbox()

    await outbox.release([first["write_down"]])

    (claim,) = await outbox.claim(10, HANDLER_NAMES)
    assert (claim.handler, claim.attempt) == ("write_down", 1)


async def test_failures_are_kept_and_stay_when_it_is_done(world: World) -> None:
    """Each with its attempt, the oldest first."""
    first = await commit_an_event(world)
    delivery, outbox = first["announce"], world.outbox()
    await outbox.record_failure(a_failure(delivery, OSError("down"), retry_in=0))
    (again,) = await outbox.claim(10, [delivery.handler])
    await outbox.record_failure(a_failure(again, OSError("still down"), retry_in=0))
    (last,) = await outbox.claim(10, [delivery.handler])

    await outbox.settle(last)

    key = (delivery.envelope.id, delivery.handler)
    assert await world.failures() == {key: [(1, "OSError: down"), (2, "OSError: still down")]}
    assert await world.finished() == {key: 3}


async def test_that_a_lease_was_lost_is_kept_as_a_failure(world: World) -> None:
    """Nobody was there to tell: the next owner writes it down."""
    first = await commit_an_event(world)
    await let_leases_end(world)

    (claim,) = await world.outbox().claim(10, ["write_down"])

    key = (claim.envelope.id, "write_down")
    assert await world.failures() == {key: [(1, "it had not finished when its lease ended")]}
    await world.outbox().record_failure(a_failure(claim, OSError("down"), retry_in=0))
    await world.outbox().claim(10, ["write_down"])
    assert [attempt for attempt, _ in (await world.failures())[key]] == [1, 2]
    assert first["write_down"].envelope.id == claim.envelope.id


@pytest.mark.parametrize("late_write", ["settle", "reschedule", "park", "release"])
async def test_a_late_owner_changes_nothing(world: World, late_write: str) -> None:
    """The fencing token: whoever has lost the lease cannot touch the new owner's delivery."""
    first = await commit_an_event(world)
    late = first["announce"]
    outbox = world.outbox()
    await let_leases_end(world)
    await outbox.claim(10, HANDLER_NAMES)
    before = (await world.deliveries())[late.envelope.id, late.handler]

    match late_write:
        case "settle":
            with pytest.raises(DeliverySuperseded):
                await outbox.settle(late)
        case "reschedule":
            with pytest.raises(DeliverySuperseded):
                await outbox.record_failure(a_failure(late, OSError(), retry_in=0))
        case "park":
            with pytest.raises(DeliverySuperseded):
                await outbox.record_failure(a_failure(late, OSError()))
        case "release":
            await outbox.release([late])

    after = (await world.deliveries())[late.envelope.id, late.handler]
    assert (after.attempts, after.last_error, after.parked_at) == (2, None, None)
    assert after.available_at == pytest.approx(before.available_at, abs=1)


async def test_a_delivery_whose_last_attempt_never_ended_is_parked(world: World) -> None:
    """A handler that kills its process must not kill one worker after the other for ever."""
    await commit_an_event(world)
    outbox = world.outbox()
    for _ in range(world.policy.max_attempts - 1):
        await let_leases_end(world)
        assert len(await outbox.claim(10, HANDLER_NAMES)) == len(HANDLERS)
    await let_leases_end(world)

    assert await outbox.claim(10, HANDLER_NAMES) == []

    for row in (await world.deliveries()).values():
        assert row.attempts == world.policy.max_attempts
        assert row.parked_at is not None
        assert row.last_error == "the last attempt did not finish"


async def test_the_seconds_until_due_tell_a_worker_how_long_to_sleep(world: World) -> None:
    """None when there is nothing to wait for; parked ones do not count."""
    outbox = world.outbox()
    assert await outbox.seconds_until_due(HANDLER_NAMES) is None
    first = await commit_an_event(world)

    assert await outbox.seconds_until_due(HANDLER_NAMES) == pytest.approx(
        world.policy.lease_seconds, abs=5
    )
    for delivery in first.values():
        await outbox.record_failure(a_failure(delivery, OSError()))
    assert await outbox.seconds_until_due(HANDLER_NAMES) is None


async def test_a_claim_that_is_settled_twice_is_done(world: World) -> None:
    """The first answer may have been cancelled: the second must not call it another's."""
    claims = await commit_an_event(world)
    outbox = world.outbox()

    await outbox.settle(claims["announce"])
    await outbox.settle(claims["announce"])

    assert "announce" not in await handlers_owed(world)


async def test_each_of_many_that_settle_at_once_gets_its_own_answer(world: World) -> None:
    """Nothing counts as done that was not done: neither another's, nor what was parked."""
    events = [await commit_an_event(world) for _ in range(40)]
    owed = [claim for event in events for claim in event.values()]
    lost = set(range(0, len(owed), 7))
    outbox = world.outbox()
    for number in lost:
        await world.outbox().record_failure(a_failure(owed[number], OSError()))
    superseded: list[int] = []

    async def settle(number: int) -> None:
        try:
            await outbox.settle(owed[number])
        except DeliverySuperseded:
            superseded.append(number)

    async with anyio.create_task_group() as group:
        for number in range(len(owed)):
            group.start_soon(settle, number)

    assert set(superseded) == lost
    assert len(await world.finished()) == len(owed) - len(lost)


async def test_of_two_claims_of_one_process_the_later_one_settles(world: World) -> None:
    """The process was frozen past its lease, and claimed the delivery again."""
    earlier = (await commit_an_event(world))["announce"]
    await let_leases_end(world)
    outbox, answers = world.outbox(), dict[int, str]()
    [later] = await outbox.claim(10, ["announce"])

    async def settle(claim: Claim) -> None:
        try:
            await outbox.settle(claim)
            answers[claim.attempt] = "settled"
        except DeliverySuperseded:
            answers[claim.attempt] = "superseded"

    async with anyio.create_task_group() as group:
        group.start_soon(settle, earlier)
        group.start_soon(settle, later)

    assert answers == {1: "superseded", 2: "settled"}


async def test_a_claim_that_is_cancelled_anywhere_leaves_no_lease(world: World) -> None:
    """Or deliveries would wait for its end, and an attempt would count that was not made."""
    outbox = world.outbox()
    await outbox.release([*(await commit_an_event(world)).values()])
    for steps in range(40):
        claimed: list[Claim] = []

        async def claim(claimed: list[Claim] = claimed) -> None:
            claimed += await outbox.claim(10, HANDLER_NAMES)

        async with anyio.create_task_group() as group:
            group.start_soon(claim)
            for _ in range(steps):
                await checkpoint()
            group.cancel_scope.cancel()

        assert sum(row.held for row in (await world.deliveries()).values()) == len(claimed)
        await outbox.release(claimed)


async def test_what_fails_because_a_resource_is_away_does_not_count(world: World) -> None:
    """It is tried until the resource is back; the pause knows how often."""
    claim = (await commit_an_event(world))["announce"]
    outbox, times = world.outbox(), world.policy.max_attempts + 3

    for number in range(times):
        assert (claim.attempt, claim.unavailable_attempts) == (1, number)
        await outbox.record_failure(a_failure(claim, Unavailable("refused"), retry_in=0))
        (claim,) = await outbox.claim(10, ["announce"])

    row = (await world.deliveries())[claim.envelope.id, claim.handler]
    assert (row.attempts, row.unavailable_attempts, row.parked_at) == (1, times, None)
    await outbox.record_failure(a_failure(claim, OSError("its own fault"), retry_in=0))
    (claim,) = await outbox.claim(10, ["announce"])
    assert (claim.attempt, claim.unavailable_attempts) == (2, times)


async def test_many_claims_are_given_back_with_one_call(world: World) -> None:
    """When there is too much to do, a statement for each would be one more thing to do."""
    claims = await commit_an_event(world)

    await world.outbox().release([*claims.values()])

    again = await world.outbox().claim(10, HANDLER_NAMES)
    assert sorted((c.handler, c.attempt) for c in again) == [(name, 1) for name in HANDLERS]


async def test_what_is_for_later_is_due_then_and_not_before(world: World) -> None:
    """Its time counts from the commit, by the database's clock; nobody holds it until then."""
    later: Later[ThingMade, None] = Later(
        write_down, after=lambda settings: settings.retry_max_seconds
    )
    world.envelopes = an_envelope_factory({ThingMade: [announce, later]})
    outbox, name = world.outbox(), "write_down"

    assert (await commit_an_event(world)).keys() == {"announce"}
    assert await outbox.claim(10, [name]) == []
    assert await outbox.seconds_until_due([name]) == pytest.approx(3600, abs=5)
    assert await outbox.seconds_until_due([name], scheduled=False) is None
    await world.move_clock(3601)
    assert await outbox.seconds_until_due([name], scheduled=False) == pytest.approx(-1, abs=5)
    [claim] = await outbox.claim(10, [name])

    assert (claim.attempt, claim.token) == (1, 2)
    assert await world.failures() == {}


async def test_what_was_written_while_the_clock_was_ahead_is_not_for_later(world: World) -> None:
    """No rule lets it wait: whoever waits until all is done waits for it, too."""
    later: Later[ThingMade, None] = Later(
        write_down, after=lambda settings: settings.retry_max_seconds
    )
    world.envelopes = an_envelope_factory({ThingMade: [announce, look_at, later]})
    outbox = world.outbox()
    await world.pause("announce")  # so nobody claims it in the commit
    claims = await commit_an_event(world)
    await world.resume("announce")
    await outbox.release([claims["look_at"]])
    await world.move_clock(-3600)

    async def due_in(name: str) -> float | None:
        return await outbox.seconds_until_due([name], scheduled=False)

    assert await due_in("announce") == pytest.approx(3600, abs=5)
    assert await due_in("look_at") == pytest.approx(3600, abs=5)
    assert await due_in("write_down") is None


async def test_a_retry_is_not_taken_for_what_is_for_later(world: World) -> None:
    """It was attempted: whoever waits until all is done waits for it."""
    claims = await commit_an_event(world)
    outbox, name = world.outbox(), "announce"
    await outbox.record_failure(a_failure(claims[name], DatabaseUnavailable("x"), retry_in=9))

    assert await outbox.seconds_until_due([name], scheduled=False) == pytest.approx(9, abs=5)


async def test_a_paused_handler_is_neither_attempted_first_nor_claimed(world: World) -> None:
    """Whatever it was: in its first attempt, waiting for the next, or committed meanwhile."""
    name = "announce"
    running = (await commit_an_event(world))[name]
    await world.pause(name)
    outbox = world.outbox()

    assert (await commit_an_event(world)).keys() == {*HANDLERS} - {name}
    await outbox.record_failure(a_failure(running, retry_in=1))
    await let_leases_end(world)
    assert {claim.handler for claim in await outbox.claim(10, HANDLER_NAMES)} == {*HANDLERS} - {
        name
    }
    assert await outbox.seconds_until_due([name]) is None
    await world.resume(name)
    await let_leases_end(world)
    claims = await outbox.claim(10, [name])

    assert sorted(claim.attempt for claim in claims) == [1, 2]


async def test_a_claim_that_has_waited_sees_a_pause_and_its_end(world: World) -> None:
    """It was made before the pause, and its turn comes after it."""
    name = "announce"
    claim = replace((await commit_an_event(world))[name], leased_at=current_time() - 1)
    await world.pause(name)
    assert await world.outbox().is_paused(claim)

    await world.resume(name)

    assert not await world.outbox().is_paused(claim)


async def test_what_is_given_back_is_due_as_it_was_and_held_by_a_pause(world: World) -> None:
    """It counts as late from then on; and whoever resumes the handler finds it."""
    claims = await commit_an_event(world)
    await world.pause("announce")
    await world.move_clock(10)
    outbox = world.outbox()

    await outbox.release([claims["announce"], claims["write_down"]])

    assert await outbox.seconds_until_due(["write_down"]) == pytest.approx(-10, abs=0.1)
    assert await outbox.claim(10, ["announce"]) == []
    await world.resume("announce")
    assert await outbox.seconds_until_due(["announce"]) == pytest.approx(-10, abs=0.1)
    [again] = await outbox.claim(10, ["announce"])
    assert again.attempt == 1


async def test_what_runs_when_its_handler_is_paused_is_settled(world: World) -> None:
    """It had begun: the effect is there, and so it is done."""
    claims = await commit_an_event(world)
    await world.pause("announce")

    await world.outbox().settle(claims["announce"])

    assert "announce" not in await handlers_owed(world)
