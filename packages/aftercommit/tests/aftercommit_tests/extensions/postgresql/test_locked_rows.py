"""A row that somebody has locked holds up its own delivery, and no other.

Somebody looks at a row in psql with FOR UPDATE, or has changed it in a transaction that goes on.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import anyio
import psycopg
import pytest
from aftercommit import Limited, Ordered
from aftercommit.errors import DeliverySuperseded
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker
from sqlalchemy import text

from aftercommit_tests.builders import PLAIN, POLICY, a_command, a_failure
from aftercommit_tests.extensions.postgresql.server import ENOUGH_SECONDS, change_from_outside
from aftercommit_tests.inside.claims import Claim, SqlAlchemyDeliveryStore
from aftercommit_tests.inside.errors import DeliveryLocked
from aftercommit_tests.misbehaving import on_made
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import announce, look_at, write_down
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "trio-anyio")]

MANY = 5
LOCK = "SELECT FROM aftercommit_deliveries WHERE event_id = %s AND handler = %s FOR UPDATE"
CLAIMED_BY_ANOTHER = "UPDATE aftercommit_deliveries SET token = token + 1"

Write = Callable[[SqlAlchemyDeliveryStore, Claim], Awaitable[object]]


async def complete(store: SqlAlchemyDeliveryStore, claim: Claim) -> None:
    await store.complete(claim)


async def record_failure(store: SqlAlchemyDeliveryStore, claim: Claim) -> None:
    await store.record_failure(a_failure(claim, retry_in=1))


async def release(store: SqlAlchemyDeliveryStore, claim: Claim) -> None:
    await store.release([claim])


WRITES = pytest.mark.parametrize("write", [complete, record_failure, release])


@contextmanager
def somebody_locks(url: str, claim: Claim) -> Iterator[None]:
    """Lock the row of a delivery, until the context ends."""
    with closing(psycopg.connect(url)) as person, person:
        assert person.execute(LOCK, [claim.envelope.id, claim.handler]).rowcount == 1
        yield


async def answers_of(
    write: Write, store: SqlAlchemyDeliveryStore, claims: list[Claim]
) -> list[object]:
    """Write about all claims at once; return what each writer was told."""
    answers: list[object] = [None] * len(claims)

    async def note(number: int, claim: Claim) -> None:
        try:
            await write(store, claim)
        except (DeliveryLocked, DeliverySuperseded) as error:
            answers[number] = type(error)

    with anyio.fail_after(ENOUGH_SECONDS):
        async with anyio.create_task_group() as group:
            for number, claim in enumerate(claims):
                group.start_soon(note, number, claim)
    return answers


@WRITES
@pytest.mark.parametrize("ordered", [False, True])
async def test_a_locked_row_holds_up_the_last_write_about_no_other(
    world: World, postgres_url: str, write: Write, ordered: bool
) -> None:
    """An effect not completed in its lease comes twice: once a row of psql cost eight."""
    world.event_handlers = {
        **PLAIN,
        ThingMade: [Ordered(announce) if ordered else announce, look_at, write_down],
    }
    world.wire()
    claims = [(await world.make_thing())["announce"] for _ in range(MANY)]
    before, store = await world.deliveries(), world.delivery_store()

    with somebody_locks(postgres_url, claims[2]):
        answers = await answers_of(write, store, claims)
        after = await world.deliveries()

    assert answers == [None, None, DeliveryLocked, None, None]
    keys = [(each.envelope.id, each.handler) for each in claims]
    changed = [key for key in keys if after.get(key) != before[key]]
    assert changed == [*keys[:2], *keys[3:]]
    assert await answers_of(write, store, claims[2:3]) == [None]
    assert (await world.deliveries()).get(keys[2]) != before[keys[2]]


@pytest.mark.parametrize("write", [complete, record_failure])
async def test_a_locked_row_of_another_claim_is_superseded_and_not_waited_for(
    world: World, postgres_url: str, write: Write
) -> None:
    """Another process has the delivery: nothing that becomes of the lock gives it back."""
    claims = [(await world.make_thing())["announce"] for _ in range(2)]
    change_from_outside(postgres_url, CLAIMED_BY_ANOTHER)

    with somebody_locks(postgres_url, claims[0]):
        answers = await answers_of(write, world.delivery_store(), claims)

    assert answers == [DeliverySuperseded, DeliverySuperseded]


async def test_a_release_of_several_leaves_only_what_is_locked(
    world: World, postgres_url: str
) -> None:
    """A process that stops gives back what it can: other workers need not wait for its leases."""
    claims = [(await world.make_thing())["announce"] for _ in range(MANY)]

    with somebody_locks(postgres_url, claims[0]):
        with anyio.fail_after(ENOUGH_SECONDS), pytest.raises(DeliveryLocked):
            await world.delivery_store().release(claims)
        released = await world.delivery_store().claim(MANY, ["announce"])

    assert {each.envelope.id for each in released} == {each.envelope.id for each in claims[1:]}


async def test_what_is_locked_beyond_its_lease_keeps_the_worker_from_nothing_else(
    world: World, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And when it is unlocked, the worker stores that its effect is out: it does not come twice."""
    effects, stop = list[ThingMade](), Shutdown()

    async def locks(event: ThingMade) -> None:
        effects.append(event)
        if len(effects) == 1:
            person.execute(LOCK, [first.events[0].id, "locks"])

    world.event_handlers = {**PLAIN, ThingMade: [locks]}
    world.policy = replace(POLICY, dispatch="worker", handler_timeout_seconds=1, lease_seconds=3)
    world.wire()
    first = await world.bus.execute(a_command())

    async def finished(number: int) -> None:
        while len(await world.finished()) < number:  # noqa: ASYNC110 only the server knows
            await anyio.sleep(0.01)

    with anyio.fail_after(ENOUGH_SECONDS), closing(psycopg.connect(postgres_url)) as person:
        async with anyio.create_task_group() as group:
            group.start_soon(Worker(world.application, stop, concurrency=2).run)
            while "could not be stored" not in caplog.text:  # noqa: ASYNC110 its lease is not over
                await anyio.sleep(0.01)
            await world.bus.execute(a_command())
            await finished(1)
            person.rollback()
            await world.bus.execute(a_command())  # before it claims that, it makes last writes
            await finished(3)
            stop.set()

    assert len(effects) == 3


async def test_work_that_is_done_and_cannot_be_stored_is_kept_for_later(world: World) -> None:
    """Whatever the reason is: once it is gone, the worker stores it, and repeats no effect."""

    async def sends(event: ThingMade) -> None:
        await world.execute(text("DROP TABLE aftercommit_deliveries CASCADE"))

    world.event_handlers = on_made(sends)
    world.wire()

    report = await world.bus.handle(a_command())

    assert [write.completes for write in report.unwritten.values()] == [True]


async def test_a_process_that_is_frozen_while_it_claims_keeps_a_limit_for_seconds_only(
    world: World,
) -> None:
    """The others skip the row of the limit, so none of them begins until the server ends this."""
    one: Limited[ThingMade, object] = Limited(announce, name="bell", at_once=2)
    world.event_handlers = {**PLAIN, ThingMade: [one]}
    world.wire()
    uses, [limit] = world.delivery_store().limit_uses, {*world.bus.delivery_store.limits.values()}
    idle = text("SHOW idle_in_transaction_session_timeout")

    async with world.database.write_transaction() as frozen:
        usual = (await frozen.execute(idle)).scalar_one()
        assert await uses.create(frozen, limit.name)
        await uses.lock(frozen, limit)
        while_it_claims = (await frozen.execute(idle)).scalar_one()
        await frozen.commit()
    async with world.database.write_transaction() as later:
        assert (await later.execute(idle)).scalar_one() == usual

    assert (usual, while_it_claims) == ("21s", "5s")
