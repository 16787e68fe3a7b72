"""What becomes of a delivery whose attempt has failed, or was given back: on each database."""

from dataclasses import replace

import pytest
from aftercommit import Unavailable

from aftercommit_tests.builders import NAMES, POLICY, a_failure
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]


@pytest.mark.parametrize("retry_in", [100.0, None])
async def test_a_delivery_that_failed_waits_for_its_pause_or_for_a_person(
    world: World, retry_in: float | None
) -> None:
    """It is due after its pause, and not before; or parked, kept and visible, in nobody's way.

    Anyone who waits until all is done waits for a pause, too.
    """
    first, store = (await world.make_thing())["announce"], world.delivery_store()

    await store.record_failure(a_failure(first, OSError("mailbox full"), retry_in=retry_in))

    row = (await world.deliveries())[first.envelope.id, "announce"]
    assert row.last_error == "OSError: mailbox full"
    assert row.parked_at == (None if retry_in else 0)
    assert await store.seconds_until_due(["announce"], scheduled=False) == retry_in
    await world.move_clock(95)
    assert "announce" not in [claim.handler for claim in await store.claim(10, NAMES)]
    await world.move_clock(10)
    claims = await store.claim(10, NAMES)
    assert [claim.handler for claim in claims] == (["announce"] if retry_in else [])


@pytest.mark.parametrize("retry_in", [100.0, None])
async def test_a_failure_that_is_stored_once_more_is_the_same(
    world: World, retry_in: float | None
) -> None:
    """The answer to its COMMIT was lost, so it is written again: nobody has lost a lease."""
    first, store = (await world.make_thing())["announce"], world.delivery_store()
    failure = a_failure(first, Unavailable("mailbox full"), retry_in=retry_in)

    await store.record_failure(failure)
    await store.record_failure(failure)

    row = (await world.deliveries())[first.envelope.id, "announce"]
    assert (row.attempts, row.unavailable_attempts) == (0, 1)
    assert [row.outcome for row in await world.ends()] == ["failed"]


async def test_what_is_given_back_is_available_at_once_and_was_no_attempt(world: World) -> None:
    """A worker that stops neither makes others wait nor uses attempts up, however much it has.

    The history knows of it, and whether a handler was interrupted.
    """
    first = await world.make_thing()
    interrupted = first.pop("announce")
    await world.delivery_store().release([*first.values()])
    await world.delivery_store().release([interrupted], interrupted=True)

    claims = await world.delivery_store().claim(10, NAMES)

    assert sorted((claim.handler, claim.attempt) for claim in claims) == [(n, 1) for n in NAMES]
    ends = await world.ends()
    assert {row.handler: row.outcome for row in ends} == {
        **dict.fromkeys(first, "released"),
        "announce": "interrupted",
    }
    assert {(row.token, row.attempt, row.owner is None) for row in ends} == {(1, 1, False)}


async def test_failures_are_kept_and_stay_when_it_is_done(world: World) -> None:
    """Each with its attempt, the oldest first; an error that no database could store is spelled.

    Anyone who looks must see why it failed, whatever a library puts into the text.
    """
    claim, store = (await world.make_thing())["announce"], world.delivery_store()
    for error in (OSError("down"), ValueError("half a \ud83d and a \0")):
        await store.record_failure(a_failure(claim, error, retry_in=0))
        (claim,) = await store.claim(10, ["announce"])

    await store.complete(claim)

    key = (claim.envelope.id, "announce")
    kept = [(1, "OSError: down"), (2, "ValueError: half a \\ud83d and a \\0")]
    assert await world.failures() == {key: kept}
    assert await world.finished() == {key: 3}


async def test_of_many_failures_the_last_ten_are_kept(world: World) -> None:
    """Nobody looks for a cause in a thousand of them. What ended otherwise is kept separately."""
    world.policy = replace(POLICY, max_attempts=100)
    claim, store = (await world.make_thing())["write_down"], world.delivery_store()
    await store.release([claim], interrupted=True)
    (claim,) = await store.claim(1, ["write_down"])
    for n in range(15):
        await store.record_failure(a_failure(claim, OSError(f"down {n}"), retry_in=0))
        (claim,) = await store.claim(1, ["write_down"])

    (kept,) = (await world.failures()).values()
    assert kept == [(n + 1, f"OSError: down {n}") for n in range(5, 15)]
    assert [row.outcome for row in await world.ends()] == ["interrupted", *["failed"] * 10]


async def test_what_fails_because_a_resource_is_away_does_not_count(world: World) -> None:
    """It is tried until the resource is back; the pause knows how often."""
    claim = (await world.make_thing())["announce"]
    store, times = world.delivery_store(), world.policy.max_attempts + 3

    for number in range(times):
        assert (claim.attempt, claim.unavailable_attempts) == (1, number)
        await store.record_failure(a_failure(claim, Unavailable("refused"), retry_in=0))
        (claim,) = await store.claim(10, ["announce"])

    row = (await world.deliveries())[claim.envelope.id, claim.handler]
    assert (row.attempts, row.unavailable_attempts, row.parked_at) == (1, times, None)
    await store.record_failure(a_failure(claim, OSError("its own fault"), retry_in=0))
    (claim,) = await store.claim(10, ["announce"])
    assert (claim.attempt, claim.unavailable_attempts) == (2, times)
