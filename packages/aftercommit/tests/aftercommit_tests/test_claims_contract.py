"""Who may work on what, and for how long: the promises about claims, on each database."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import anyio
import pytest
from aftercommit import Database, new_delivery_store
from aftercommit.errors import DeliverySuperseded
from anyio.lowlevel import checkpoint
from sqlalchemy import delete, event, update

from aftercommit_tests.builders import NAMES, a_failure
from aftercommit_tests.inside.claims import Claim, EventId
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]


def events_of(claims: Iterable[Claim]) -> set[EventId]:
    return {claim.envelope.id for claim in claims}


async def test_what_a_dead_owner_left_behind_is_claimed_when_its_lease_ends(world: World) -> None:
    """Not before; then with all that is known about the event, and for a new lease."""
    first = await world.make_thing()
    one, other = world.delivery_store(), world.delivery_store()
    await world.move_clock(world.policy.lease_seconds - 5)
    assert await one.claim(10, NAMES) == []

    await world.move_clock(6)
    claims = await one.claim(10, NAMES)

    assert sorted(claim.handler for claim in claims) == NAMES
    for claim in claims:
        assert claim.envelope == first[claim.handler].envelope
        assert isinstance(claim.envelope.event, ThingMade)
        assert claim.attempt == 2
        assert claim.idempotency_key == first[claim.handler].idempotency_key
    assert await other.claim(10, NAMES) == []
    await world.end_leases()
    assert {claim.attempt for claim in await other.claim(10, NAMES)} == {3}


async def test_a_process_may_have_any_number_of_handlers(world: World) -> None:
    """SQLite takes 500 parts of a statement: one handler more would stop all the others."""
    await world.make_thing()
    await world.end_leases()
    store, names = world.delivery_store(), [*(f"handler_{n}" for n in range(500)), *NAMES]
    late = await store.seconds_until_due(names)
    claims = list[Claim]()

    while some := await store.claim(10, names):
        claims += some

    assert late is not None
    assert late <= 0
    assert sorted(claim.handler for claim in claims) == NAMES


async def test_workers_that_claim_at_once_share_the_work(world: World) -> None:
    """Each delivery goes to exactly one of them."""
    for _ in range(5):
        await world.make_thing()
    await world.end_leases()
    claims: list[Claim] = []

    async def claim() -> None:
        store = world.delivery_store()
        while batch := await store.claim(3, NAMES):
            claims.extend(batch)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(claim)

    assert len(claims) == len({claim.idempotency_key for claim in claims}) == 5 * len(NAMES)


async def test_a_claim_takes_the_longest_due_first_and_no_more_than_asked(world: World) -> None:
    """Nothing waits forever behind newer work."""
    old = await world.make_thing()
    await world.move_clock(1)
    await world.make_thing()
    await world.end_leases()

    claims = await world.delivery_store().claim(len(NAMES), NAMES)

    assert events_of(claims) == events_of(old.values())


async def test_what_is_replayed_is_claimed_only_while_nothing_else_is_due(world: World) -> None:
    """However long it is due, and however much there is of it: what happens now waits for none."""
    past = await world.make_thing()
    (past_id,) = events_of(past.values())
    await world.execute(update(tables.deliveries).values(replay=True))
    await world.move_clock(1)
    live_ids, store = (
        events_of((await world.make_thing()).values()),
        world.delivery_store(),
    )

    await world.move_clock(world.policy.lease_seconds - 1)
    assert await store.seconds_until_due(NAMES) == pytest.approx(0, abs=0.1)
    claims = [await store.claim(1, NAMES)]
    await world.move_clock(1)
    claims += [await store.claim(2, NAMES) for _ in range(3)]

    assert [events_of(some) for some in claims] == [{past_id}, live_ids, live_ids, {past_id}]
    assert [len(some) for some in claims] == [1, 2, 1, 2]


STRANGE: dict[str, dict[str, str | int]] = {
    "an event": {"type": "thing_vanished"},
    "a version of an event": {"schema_version": 99},
    "a handler": {},
}


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
async def test_a_claim_takes_only_what_its_process_knows(
    world: World, change: dict[str, str | int]
) -> None:
    """An older version, or a process without a broker, would only burn the attempts of others."""
    await world.make_thing()
    if change:
        await world.execute(update(tables.events).values(**change))
    await world.end_leases()
    store, known = world.delivery_store(), NAMES if change else ["write_down"]

    claims = await store.claim(10, known)

    assert [claim.handler for claim in claims] == ([] if change else known)
    assert await store.seconds_until_due(NAMES if change else ["send_fax"]) is None
    claimed = {(claim.envelope.id, claim.handler) for claim in claims}
    rows = (await world.deliveries()).items()
    untouched = [(row.attempts, row.parked_at) for key, row in rows if key not in claimed]
    assert {*untouched} == {(1, None)}


async def test_a_lost_lease_is_kept_as_a_failure(world: World) -> None:
    """The owner could not say so: the next one writes it down."""
    await world.make_thing()
    await world.end_leases()

    (claim,) = await world.delivery_store().claim(10, ["write_down"])

    key = (claim.envelope.id, "write_down")
    assert await world.failures() == {key: [(1, "it had not finished when its lease ended")]}
    await world.delivery_store().record_failure(a_failure(claim, OSError("down"), retry_in=0))
    await world.delivery_store().claim(10, ["write_down"])
    assert [attempt for attempt, _ in (await world.failures())[key]] == [1, 2]


async def test_a_delivery_whose_last_attempt_never_ended_is_parked(world: World) -> None:
    """A handler that kills its process must not kill one worker after the other forever."""
    await world.make_thing()
    store = world.delivery_store()
    for _ in range(world.policy.max_attempts - 1):
        await world.end_leases()
        assert len(await store.claim(10, NAMES)) == len(NAMES)
    await world.end_leases()

    assert await store.claim(10, NAMES) == []

    for row in (await world.deliveries()).values():
        assert row.attempts == world.policy.max_attempts
        assert row.parked_at is not None
        assert row.last_error == "the last attempt did not finish"


async def test_who_lowers_the_number_of_attempts_parks_nothing_that_waits(world: World) -> None:
    """Each delivery that waits has one more attempt, and only that one decides."""
    claims = (await world.make_thing()).values()
    store = world.delivery_store()
    for claim in claims:
        await store.record_failure(a_failure(claim, OSError("down"), retry_in=0))
    world.policy = replace(world.policy, max_attempts=1)

    again = await world.delivery_store().claim(10, NAMES)

    assert [claim.attempt for claim in again] == [2] * len(NAMES)


async def test_a_claim_that_is_cancelled_anywhere_leaves_no_lease(world: World) -> None:
    """Or deliveries would wait for its end, and an attempt would count that was not made."""
    store = world.delivery_store()
    await store.release([*(await world.make_thing()).values()])
    for steps in range(40):
        claimed: list[Claim] = []

        async def claim(claimed: list[Claim] = claimed) -> None:
            claimed += await store.claim(10, NAMES)

        async with anyio.create_task_group() as group:
            group.start_soon(claim)
            for _ in range(steps):
                await checkpoint()
            group.cancel_scope.cancel()

        assert sum(row.held for row in (await world.deliveries()).values()) == len(claimed)
        await store.release(claimed)


@contextmanager
def refusing(database: Database, number: int) -> Iterator[list[str]]:
    """Let the database be away when this statement comes, counted from 0; collect all that come."""
    engine, asked = database.engine.sync_engine, list[str]()

    def refuse(_: object, __: object, sql: str, *more: object) -> None:
        asked.append(sql)
        if len(asked) == number + 1:
            raise DatabaseUnavailable("it has gone away")

    event.listen(engine, "before_cursor_execute", refuse)
    yield asked
    event.remove(engine, "before_cursor_execute", refuse)


async def test_an_outage_in_the_middle_of_a_claim_uses_up_no_attempt(world: World) -> None:
    """No handler has run: a few such claims would park what nobody has ever tried.

    Whichever statement finds the database away; also if something in the claim has to be parked.
    """
    for number in count():
        good, bad, exhausted = [await world.make_thing() for _ in range(3)]
        of, exhausted_ids = tables.deliveries.c.event_id, events_of(exhausted.values())
        is_bad = tables.events.c.id.in_(events_of(bad.values()))
        await world.execute(update(tables.events).where(is_bad).values(data="{]"))
        tried = update(tables.deliveries).where(of.in_(exhausted_ids))
        await world.execute(tried.values(attempts=world.policy.max_attempts))
        await world.end_leases()
        before, store = (
            await world.deliveries(),
            new_delivery_store(world.database, world.policy),
        )

        with refusing(world.database, number) as asked:
            try:
                claims = await store.claim(100, NAMES)
            except DatabaseUnavailable:
                assert await world.deliveries() == before
                claims = await world.delivery_store().claim(100, NAMES)

        assert events_of(claims) == events_of(good.values())
        assert [claim.attempt for claim in claims] == [2] * len(NAMES)
        if len(asked) <= number:
            break
        await world.execute(delete(tables.deliveries))


@pytest.mark.parametrize("late_write", ["complete", "reschedule", "park", "release"])
async def test_a_late_owner_changes_nothing(world: World, late_write: str) -> None:
    """The fencing token: anyone who has lost the lease cannot touch the new owner's delivery."""
    late = (await world.make_thing())["announce"]
    store = world.delivery_store()
    await world.end_leases()
    await store.claim(10, NAMES)
    before = await world.deliveries()

    match late_write:
        case "release":
            await store.release([late])
        case "complete":
            with pytest.raises(DeliverySuperseded):
                await store.complete(late)
        case _:
            with pytest.raises(DeliverySuperseded):
                retry_in = 0.0 if late_write == "reschedule" else None
                await store.record_failure(a_failure(late, retry_in=retry_in))

    assert await world.deliveries() == before
