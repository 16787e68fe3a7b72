"""What is to wait: until its time has come, or until somebody resumes its handler."""

from dataclasses import replace
from datetime import timedelta

import pytest
from aftercommit import Later
from aftercommit.errors import HandlerPaused
from anyio import current_time

from aftercommit_tests.builders import NAMES, a_failure, an_envelope_factory
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import announce, look_at, write_down
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]


@pytest.fixture
def delayed(world: World) -> World:
    """A world in which lines are written an hour later."""
    later: Later[ThingMade, None] = Later(write_down, after=timedelta(hours=1))
    world.envelopes = an_envelope_factory({ThingMade: [announce, look_at, later]})
    return world


async def test_what_is_for_later_is_due_then_and_not_before(delayed: World) -> None:
    """Its time counts from the commit, by the database's clock; nobody holds it until then."""
    store, name = delayed.delivery_store(), "write_down"

    assert (await delayed.make_thing()).keys() == {"announce", "look_at"}
    assert await store.claim(10, [name]) == []
    assert await store.seconds_until_due([name]) == pytest.approx(3600, abs=5)
    assert await store.seconds_until_due([name], scheduled=False) is None
    await delayed.move_clock(3601)
    assert await store.seconds_until_due([name], scheduled=False) == pytest.approx(-1, abs=5)
    [claim] = await store.claim(10, [name])

    assert (claim.attempt, claim.token) == (1, 2)
    assert await delayed.failures() == {}


async def test_what_was_written_while_the_clock_was_ahead_is_not_for_later(delayed: World) -> None:
    """No rule lets it wait: anyone who waits until all is done waits for it, too."""
    store = delayed.delivery_store()
    await delayed.pause("announce")  # so nobody claims it in the commit
    claims = await delayed.make_thing()
    await delayed.resume("announce")
    await store.release([claims["look_at"]])
    await delayed.move_clock(-3600)

    due_in = {name: await store.seconds_until_due([name], scheduled=False) for name in NAMES}

    hour = pytest.approx(3600, abs=5)
    assert due_in == {"announce": hour, "look_at": hour, "write_down": None}


async def test_a_paused_handler_is_neither_attempted_first_nor_claimed(world: World) -> None:
    """Whatever it was: in its first attempt, waiting for the next, or committed meanwhile."""
    name, store = "announce", world.delivery_store()
    running = (await world.make_thing())[name]
    await world.pause(name)

    assert (await world.make_thing()).keys() == {*NAMES} - {name}
    await store.record_failure(a_failure(running, retry_in=1))
    await world.end_leases()
    assert {claim.handler for claim in await store.claim(10, NAMES)} == {*NAMES} - {name}
    assert await store.seconds_until_due([name]) is None
    await world.resume(name)
    await world.end_leases()
    claims = await store.claim(10, [name])

    assert sorted(claim.attempt for claim in claims) == [1, 2]


async def test_a_claim_that_has_waited_sees_a_pause_and_its_end(world: World) -> None:
    """It was made before the pause, and its turn comes after it."""
    name = "announce"
    claim = replace((await world.make_thing())[name], leased_at=current_time() - 1)
    await world.pause(name)
    with pytest.raises(HandlerPaused):
        await world.delivery_store().ensure_not_paused(claim)

    await world.resume(name)

    await world.delivery_store().ensure_not_paused(claim)


async def test_what_is_given_back_is_due_as_it_was_and_held_by_a_pause(world: World) -> None:
    """It counts as late from then on; and anyone who resumes the handler finds it."""
    claims, store = await world.make_thing(), world.delivery_store()
    begun = (await world.make_thing())["announce"]
    await world.pause("announce")
    await world.move_clock(10)

    await store.release([claims["announce"], claims["write_down"]])
    await store.complete(begun)  # it had begun: the effect is there, and so it is done

    assert len(await world.finished()) == 1
    assert await store.seconds_until_due(["write_down"]) == pytest.approx(-10, abs=0.1)
    assert await store.claim(10, ["announce"]) == []
    await world.resume("announce")
    assert await store.seconds_until_due(["announce"]) == pytest.approx(-10, abs=0.1)
    [again] = await store.claim(10, ["announce"])
    assert again.attempt == 1
