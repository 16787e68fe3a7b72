"""What locks several deliveries locks them in one order: nobody waits in a circle.

An operator pauses in a transaction, as a slow process does; then it is seen who waits, and what
those who wait have locked already.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import psycopg
import pytest
from aftercommit import Ordered
from aftercommit.errors import DeliverySuperseded
from aftercommit.extensions.operations.erasing_events import StoredEvent

from aftercommit_tests.builders import MARIA, PLAIN, a_failure
from aftercommit_tests.extensions.postgresql.server import ENOUGH_SECONDS, change_from_outside
from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.inside.errors import DeliveryLocked, DeliveryNotFound
from aftercommit_tests.inside.operations import (
    delivery_admin,
    end_deliveries,
    erasing_events,
    handler_pauses,
    replay_of,
)
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.bell import Bell
from aftercommit_tests.things.domain import RenameThing, ThingId, ThingMade, ThingRenamed
from aftercommit_tests.things.handlers import announce, look_at, write_down
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "trio-anyio")]

MANY = 5
CLAIM = """
UPDATE aftercommit_deliveries SET owner = 'another', token = token + 1, attempts = attempts + 1,
    available_at = 1e9 WHERE handler = 'announce'
"""
AGAINST_THE_ORDER = """
CREATE TABLE kept AS SELECT * FROM aftercommit_deliveries;
TRUNCATE aftercommit_deliveries CASCADE;
INSERT INTO aftercommit_deliveries SELECT * FROM kept ORDER BY event_id DESC, handler DESC
"""
FIRST_DELIVERY = """
SELECT FROM aftercommit_deliveries WHERE handler = 'announce'
ORDER BY event_id LIMIT 1 FOR UPDATE
"""
FIRST_EVENT = "SELECT FROM aftercommit_events ORDER BY recorded_at, id LIMIT 1 FOR UPDATE"
UNLOCKED = """
SELECT FROM aftercommit_deliveries WHERE handler = 'announce' FOR UPDATE SKIP LOCKED
"""
WAITS_FOR = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"

Decide = Callable[[World, list[Claim]], Coroutine[Any, Any, None]]


async def retry(world: World, claims: list[Claim]) -> None:
    await delivery_admin.retry(world.database, claims[0].envelope.id, "announce", MARIA)


async def discard(world: World, claims: list[Claim]) -> None:
    await delivery_admin.discard(world.database, claims[0].envelope.id, "announce", MARIA)


async def erase(world: World, claims: list[Claim]) -> None:
    some = [StoredEvent(each.envelope.id, each.envelope.subject, {}) for each in claims]
    texts = {"discard": ["announce"], "reason": "erased", "decision": MARIA}
    async with world.database.write_transaction() as transaction:
        await end_deliveries(transaction, world.database, some, **texts)  # type: ignore[arg-type]
        await erasing_events.redact_events(transaction, some, {"name": "erased"}, reason="erased")
        await transaction.commit()


async def retry_all_parked(world: World, claims: list[Claim]) -> None:
    await delivery_admin.retry_all_parked(world.database, MARIA)


async def pause(world: World, claims: list[Claim]) -> None:
    await handler_pauses.pause(world.database, ["announce"], MARIA)


async def resume(world: World, claims: list[Claim]) -> None:
    await handler_pauses.resume(world.database, ["announce"], MARIA)


async def until_unlocked(last_write: Callable[[], Awaitable[object]]) -> None:
    """Make a last write as the engine does: it skips what is locked, and is tried again."""
    while True:
        with suppress(DeliveryLocked):
            await last_write()
            return
        await anyio.sleep(0.01)


async def release(world: World, claims: list[Claim]) -> None:
    await until_unlocked(partial(world.delivery_store().release, claims))


@asynccontextmanager
async def somebody_waits(
    url: str, statement: str, decide: Decide, world: World, claims: list[Claim]
) -> AsyncIterator[psycopg.Connection]:
    """Wait until a decision waits for somebody who has executed a statement; yield that session.

    When the context ends, so does the transaction; and then the decision ends, too.
    """

    def waiting(looking: psycopg.Connection) -> int:
        return looking.execute(WAITS_FOR, [person.info.backend_pid]).rowcount

    with closing(psycopg.connect(url)) as person:
        person.execute(statement)
        async with anyio.create_task_group() as group:
            group.start_soon(decide, world, claims)
            with closing(psycopg.connect(url, autocommit=True)) as looking, person:
                with anyio.fail_after(ENOUGH_SECONDS):
                    while not waiting(looking):  # noqa: ASYNC110 only the server knows
                        await anyio.sleep(0.01)
                yield looking


@pytest.mark.parametrize("decide", [retry, discard, erase])
async def test_a_claim_that_a_decision_has_waited_for_is_in_the_history(
    world: World, postgres_url: str, decide: Decide
) -> None:
    """It was made while the decision began: or its effect would be repeated without a reason."""
    claims = [(await world.make_thing())["announce"]]
    await world.delivery_store().release(claims)

    async with somebody_waits(postgres_url, CLAIM, decide, world, claims):
        pass

    [_, lost] = [each for each in await world.ends() if each.handler == "announce"]
    assert (lost.outcome, lost.owner, lost.token) == ("superseded", "another", 3)


@pytest.mark.parametrize("decide", [retry_all_parked, erase])
async def test_deliveries_are_locked_in_the_order_of_their_keys(
    world: World, postgres_url: str, decide: Decide
) -> None:
    """Whatever the order is in which the database finds them."""
    claims = [(await world.make_thing())["announce"] for _ in range(MANY)]
    if decide is retry_all_parked:
        for claim in claims:
            await world.delivery_store().record_failure(a_failure(claim))
    change_from_outside(postgres_url, AGAINST_THE_ORDER)

    async with somebody_waits(postgres_url, FIRST_DELIVERY, decide, world, claims) as looking:
        assert looking.execute(UNLOCKED).rowcount == MANY - 1


async def test_an_ordered_replay_locks_what_runs_in_the_same_order(
    world: World, postgres_url: str
) -> None:
    """A process that stops gives back all that it runs, in whatever lanes."""
    before = [await world.make_thing() for _ in range(MANY)]
    things = [ThingId(UUID(each["announce"].envelope.subject)) for each in before]
    ordered = Ordered(announce_renamed)
    world.event_handlers = {**PLAIN, ThingMade: [ordered], ThingRenamed: [ordered]}
    world.wire()
    for thing in things:
        await world.bus.execute(RenameThing(thing_id=thing, name=f"lamp {thing}"))
    await world.pause("announce_renamed")
    change_from_outside(postgres_url, AGAINST_THE_ORDER)

    async def replay_all(world: World, claims: list[Claim]) -> None:
        past = replay_of(world.bus, "announce_renamed", [], until=1e9)
        await past.run(world.database, MARIA, lambda count: None)

    first = FIRST_DELIVERY.replace("announce", "announce_renamed")
    unlocked = UNLOCKED.replace("announce", "announce_renamed")
    async with somebody_waits(postgres_url, first, replay_all, world, []) as looking:
        assert looking.execute(unlocked).rowcount == MANY - 1

    blocked = await world.rows(tables.deliveries.c.blocked, tables.deliveries.c.owner)
    assert sum(row.blocked for row in blocked if row.owner) == MANY


async def announce_renamed(event: ThingMade | ThingRenamed, bell: Bell) -> None:
    """Have an external effect."""


async def test_an_erasure_waits_for_retention_before_it_locks_deliveries(
    world: World, postgres_url: str
) -> None:
    """Retention locks events, and then what it deletes of them."""
    claims = [(await world.make_thing())["announce"] for _ in range(MANY)]

    async with somebody_waits(postgres_url, FIRST_EVENT, erase, world, claims) as looking:
        assert looking.execute(UNLOCKED).rowcount == MANY


@pytest.mark.parametrize("decide", [retry, retry_all_parked, erase])
async def test_a_decision_waits_for_a_pause_that_ends_before_it_locks_deliveries(
    world: World, postgres_url: str, decide: Decide
) -> None:
    """Anyone who resumes a handler wants its deliveries next."""
    claims = [(await world.make_thing())["announce"]]
    await world.delivery_store().record_failure(a_failure(claims[0]))
    await world.pause("announce")
    ending = "DELETE FROM aftercommit_handler_pauses"

    async with somebody_waits(postgres_url, ending, decide, world, claims) as looking:
        assert looking.execute(UNLOCKED).rowcount == 1


async def test_a_pause_waits_for_no_delivery(world: World, postgres_url: str) -> None:
    """What somebody else changes just then is left where it is: no worker claims it."""
    claims = [(await world.make_thing())["announce"] for _ in range(MANY)]
    await world.delivery_store().release(claims)
    with closing(psycopg.connect(postgres_url)) as person, person:
        person.execute(FIRST_DELIVERY)
        with anyio.fail_after(ENOUGH_SECONDS):
            assert await handler_pauses.pause(world.database, ["announce"], MARIA) == MANY - 1

    assert await world.delivery_store().claim(MANY, ["announce"]) == []
    await world.resume("announce")
    assert len(await world.delivery_store().claim(MANY, ["announce"])) == MANY


async def test_what_is_locked_is_released_last_and_not_left_paused(
    world: World, postgres_url: str
) -> None:
    """Anyone who resumes a handler waits for it, when nobody waits for what was resumed before."""
    claims = [(await world.make_thing())["announce"] for _ in range(MANY)]
    await world.delivery_store().release(claims)
    await world.pause("announce")

    async with somebody_waits(postgres_url, FIRST_DELIVERY, resume, world, claims) as looking:
        assert looking.execute(UNLOCKED).rowcount == MANY - 1

    assert len(await world.delivery_store().claim(MANY, ["announce"])) == MANY


async def test_decisions_beside_completions_do_not_deadlock(world: World) -> None:
    """Of ordered handlers and others, about the same deliveries, at the same time."""
    world.event_handlers = {**PLAIN, ThingMade: [Ordered(announce), look_at, write_down]}
    world.wire()

    async def completed(claim: Claim) -> None:
        with suppress(DeliverySuperseded):
            await until_unlocked(partial(store.complete, claim))

    async def discarded(claim: Claim) -> None:
        with suppress(DeliveryNotFound):
            await discard(world, [claim])

    for _ in range(10):
        store = world.delivery_store()
        made = [await world.make_thing() for _ in range(MANY)]
        claims = [claim for of_event in made for claim in of_event.values()]
        announced = [of_event["announce"] for of_event in made]
        for of_event in made[:2]:
            await store.record_failure(a_failure(of_event["look_at"]))
        async with anyio.create_task_group() as group:
            for claim in claims:
                group.start_soon(completed, claim)
            group.start_soon(erase, world, announced[1:])
            group.start_soon(discarded, announced[0])
            group.start_soon(retry_all_parked, world, [])
            group.start_soon(pause, world, [])
            group.start_soon(release, world, claims[::3])
        await resume(world, [])
