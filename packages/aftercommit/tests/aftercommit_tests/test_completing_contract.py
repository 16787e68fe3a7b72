"""What is done is marked as done, once and for good: on each database."""

import anyio
import pytest
from aftercommit import new_delivery_store
from aftercommit.errors import DeliverySuperseded
from anyio.lowlevel import checkpoint
from sqlalchemy import text

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import NAMES, a_claim, a_failure
from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.inside.errors import StatementRefused
from aftercommit_tests.inside.stored import BATCH_SIZE
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]


async def test_what_is_completed_is_history(world: World) -> None:
    """It is not owed any longer, but it can be seen that it was, and at which attempt it was done.

    The first answer may have been cancelled: the second must not call the claim another's.
    """
    done, store = (await world.make_thing())["announce"], world.delivery_store()

    await store.complete(done)
    await store.complete(done)

    assert await world.owed() == NAMES[1:]
    assert await world.finished() == {(done.envelope.id, done.handler): 1}
    await world.end_leases()
    assert sorted(claim.handler for claim in await store.claim(10, NAMES)) == NAMES[1:]


async def test_each_of_many_that_complete_at_once_gets_its_own_answer(world: World) -> None:
    """Nothing counts as done that was not done: neither another's, nor what is parked or gone."""
    owed = [claim for _ in range(40) for claim in (await world.make_thing()).values()]
    lost = set(range(0, len(owed), 7))
    store = world.delivery_store()
    for number in lost:
        await world.delivery_store().record_failure(a_failure(owed[number]))
    lost.add(len(owed))
    owed.append(a_claim())
    superseded: list[int] = []

    async def complete(number: int) -> None:
        try:
            await store.complete(owed[number])
        except DeliverySuperseded:
            superseded.append(number)

    async with anyio.create_task_group() as group:
        for number in range(len(owed)):
            group.start_soon(complete, number)

    assert set(superseded) == lost
    assert len(await world.finished()) == len(owed) - len(lost)


async def test_of_two_claims_of_one_process_the_later_one_completes(world: World) -> None:
    """The process was frozen past its lease, and claimed the delivery again."""
    earlier = (await world.make_thing())["announce"]
    await world.end_leases()
    store, answers = world.delivery_store(), dict[int, str]()
    [later] = await store.claim(10, ["announce"])

    async def complete(claim: Claim) -> None:
        try:
            await store.complete(claim)
            answers[claim.attempt] = "completed"
        except DeliverySuperseded:
            answers[claim.attempt] = "superseded"

    async with anyio.create_task_group() as group:
        group.start_soon(complete, earlier)
        group.start_soon(complete, later)

    assert answers == {1: "superseded", 2: "completed"}


async def test_what_completes_together_is_one_statement_and_no_series(world: World) -> None:
    """A process that is frozen within a series holds its locks beyond the server's time limits."""
    claims, store = await world.make_thing(), world.delivery_store()

    with asked_of(world.database, world.other_database) as asked:
        async with anyio.create_task_group() as group:
            for claim in claims.values():
                group.start_soon(store.complete, claim)

    updates = [each.is_series for each in asked if "UPDATE aftercommit_deliveries" in each.sql]
    assert updates == [False]
    assert await world.deliveries() == {}


async def test_completing_that_is_cancelled_anywhere_loses_and_doubles_nothing(
    world: World,
) -> None:
    """Completed or not completed, and the second try of the same claim is no other owner's."""
    store = new_delivery_store(world.database, world.policy)
    for steps in range(40):
        claims = await world.make_thing()
        async with anyio.create_task_group() as group:
            for claim in claims.values():
                group.start_soon(store.complete, claim)
            for _ in range(steps):
                await checkpoint()
            group.cancel_scope.cancel()

        for claim in claims.values():
            await store.complete(claim)

    assert len(await world.finished()) == 40 * len(NAMES)


async def test_after_an_outage_a_complete_completes_its_own_delivery(world: World) -> None:
    """However many have failed before it: an e-mail that counts as sent must not go out again."""
    claims = [claim for _ in range(50) for claim in (await world.make_thing()).values()]
    *before, last = claims
    store, failed = world.delivery_store(), list[Claim]()

    async def complete(claim: Claim) -> None:
        with pytest.raises(StatementRefused):
            await store.complete(claim)
        failed.append(claim)

    await world.execute(text("ALTER TABLE aftercommit_deliveries RENAME TO away"))
    async with anyio.create_task_group() as group:
        for claim in before:
            group.start_soon(complete, claim)
    await world.execute(text("ALTER TABLE away RENAME TO aftercommit_deliveries"))

    await store.complete(last)

    assert len(failed) == len(before) > BATCH_SIZE
    assert set(await world.finished()) == {(last.envelope.id, last.handler)}
