"""An effect that happened twice: each cause has its reason in the history, and each its own.

docs/runbook.md has them in a table (runbook 17).
"""

from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest
from aftercommit import IdempotencyKey, Unavailable

from aftercommit_tests.builders import MARIA
from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.inside.operations import delivery_admin
from aftercommit_tests.misbehaving import LIMIT_SECONDS, on_made
from aftercommit_tests.things.bell import Bell
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.world import World

pytestmark = pytest.mark.anyio

Then = Callable[[], Awaitable[object]]
Attempt = Callable[[World, Claim], Awaitable[object]]


async def rings_and(world: World, claim: Claim, then: Then | None = None) -> None:
    """Run a delivery whose handler rings, and then does something more."""

    async def ring(event: ThingMade, bell: Bell, idempotency_key: IdempotencyKey) -> None:
        await bell.ring(event.name, idempotency_key=idempotency_key)
        if then:
            await then()

    world.event_handlers = on_made(ring)
    world.wire()
    await world.bus.run([claim])


async def again(world: World) -> None:
    """Let another process run what is due, after a while."""
    await world.move_clock(10)
    for claim in await world.delivery_store().claim(10, ["ring"]):
        await rings_and(world, claim)


async def fails(world: World, claim: Claim) -> None:
    async def fail() -> None:
        raise OSError("the reply is: not now")

    await rings_and(world, claim, fail)


async def loses_the_reply(world: World, claim: Claim) -> None:
    async def lose() -> None:
        raise Unavailable("the connection ended before the reply")

    await rings_and(world, claim, lose)


async def is_stopped(world: World, claim: Claim) -> None:
    """Its process gets SIGTERM, and the grace period ends before the reply has come."""

    async def stop() -> None:
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await rings_and(world, claim, stop)


async def is_retried_while_it_runs(world: World, claim: Claim) -> None:
    async def retry() -> None:
        this = claim.envelope.id, claim.handler
        await delivery_admin.retry(world.other_database, *this, MARIA)

    await rings_and(world, claim, retry)


async def is_killed(world: World, claim: Claim) -> None:
    """All that is left of its process is what others have heard."""
    assert isinstance(claim.message, ThingMade)
    await world.bell.ring(claim.message.name, idempotency_key=claim.idempotency_key)
    await world.end_leases()


async def freezes(world: World, claim: Claim) -> None:
    """Another process has done it when this one goes on, and notices."""

    async def freeze() -> None:
        await world.end_leases()
        await again(world)

    await rings_and(world, claim, freeze)


async def is_handed_over(world: World, claim: Claim) -> None:
    await world.bus.release([claim])


@pytest.mark.parametrize(
    ("attempt", "times", "past", "attempts"),
    [
        (fails, 2, ["failed"], 2),
        (loses_the_reply, 2, ["failed"], 1),
        (is_stopped, 2, ["interrupted"], 1),
        (is_retried_while_it_runs, 2, ["superseded", "retry"], 1),
        (is_killed, 2, ["lease_expired"], 2),
        (freezes, 2, ["lease_expired"], 2),
        (is_handed_over, 1, ["released"], 1),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_the_history_says_why_an_effect_was_repeated(
    world: World, attempt: Attempt, times: int, past: Sequence[str], attempts: int
) -> None:
    """One reason for each claim that has not succeeded; a claim without an effect is none."""

    async def ring(event: ThingMade, bell: Bell) -> None:
        """Stand for the name."""

    world.event_handlers = on_made(ring)
    world.wire()
    [first] = await world.made()

    with anyio.fail_after(LIMIT_SECONDS):
        await attempt(world, first)
        await again(world)

    row, _, history = await delivery_admin.delivery(world.database, first.envelope.id, "ring")
    assert len(world.bell.rung) == times
    assert {key for _, key in world.bell.rung} == {first.idempotency_key}
    assert (row.state, row.attempts) == ("done", attempts)
    assert [entry.what for entry in history] == past
    ended = history[0]
    assert (ended.attempt, ended.token, ended.by) == (1, 1, world.database.process)
    assert all(entry.by == "Maria" for entry in history[1:])
