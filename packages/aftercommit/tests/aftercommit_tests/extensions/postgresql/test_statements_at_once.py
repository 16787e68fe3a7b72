"""Two statements about one delivery at the same moment: who waits for whom, and what comes of it.

For each pair, A changes the delivery and is held in its COMMIT, with all its locks: a deferred
trigger waits there. Then B begins. Either it ends, or `pg_blocking_pids` shows that it waits for A.
Now A commits, or fails. What is stored then has to be what the two do one after the other, by
`states`; and B has to say so.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import anyio
import psycopg
import pytest
import sqlalchemy as sa
from aftercommit import Ordered
from aftercommit.errors import DeliverySuperseded
from anyio import to_thread

from aftercommit_tests.builders import MARIA, PLAIN, POLICY, a_failure, a_thing_id
from aftercommit_tests.extensions.postgresql.server import ENOUGH_SECONDS, change_from_outside
from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.inside.errors import DeliveryLocked, DeliveryNotFound
from aftercommit_tests.inside.operations import delivery_admin, handler_pauses, prune
from aftercommit_tests.inside.stored import (
    metadata,
    pauses,
    states,
    tables,
    unblock_heads,
)
from aftercommit_tests.things.domain import ThingMade, ThingRenamed
from aftercommit_tests.things.handlers import announce
from aftercommit_tests.world import World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.check,
    pytest.mark.on("asyncio-asyncpg", "asyncio-psycopg"),
]

HOLD = """
CREATE SEQUENCE changes;
CREATE TABLE fate (fails bool);
INSERT INTO fate VALUES (false);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('changes') = 1 THEN  -- of A, since B begins when A is here
        PERFORM pg_advisory_xact_lock(1, 1);
        IF (SELECT fails FROM fate) THEN RAISE 'it is not to be'; END IF;
    END IF;
    RETURN NULL;
END $$;
SELECT nextval('changes'), nextval('changes');
CREATE CONSTRAINT TRIGGER hold AFTER INSERT OR UPDATE OR DELETE ON aftercommit_deliveries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON aftercommit_handler_pauses
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()
"""
IS_HELD = """
SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted
    AND (classid, objid, objsubid) = (1, 1, 2)
"""
WAITS = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
FORGET = """
DELETE FROM aftercommit_deliveries; DELETE FROM aftercommit_events;
DELETE FROM aftercommit_handler_pauses
"""
SECONDS = 100.0  # until the next attempt
HANDLER = "announce"


@dataclass
class Situation:
    """A world, and the last claim on its one delivery, or on the first of its lane."""

    world: World
    claim: Claim


Do = Callable[[Situation], Awaitable[bool | None]]
"""Returns whether it has hit the delivery, if it can tell."""


async def claim(its: Situation) -> bool:
    return len(await its.world.delivery_store().claim(1, [HANDLER])) == 1


async def complete(its: Situation) -> bool:
    await its.world.delivery_store().complete(its.claim, follow=False)
    return True


async def complete_in_transaction(its: Situation) -> bool:
    """Commit a unit of work, with an event that no handler wants."""
    async with its.world.a_uow(its.claim) as uow:
        renamed = ThingRenamed(thing_id=a_thing_id(), name="torch")
        uow.transaction.record(renamed, subject="a thing")
    return True


async def fail(its: Situation) -> None:
    await its.world.delivery_store().record_failure(a_failure(its.claim, retry_in=SECONDS))


async def release(its: Situation) -> None:
    await its.world.delivery_store().release([its.claim])


async def retry(its: Situation) -> bool:
    await delivery_admin.retry(its.world.other_database, its.claim.envelope.id, HANDLER, MARIA)
    return True


async def discard(its: Situation) -> bool:
    await delivery_admin.discard(its.world.other_database, its.claim.envelope.id, HANDLER, MARIA)
    return True


async def pause(its: Situation) -> None:
    await handler_pauses.pause(its.world.other_database, [HANDLER], MARIA)


async def prune_all(its: Situation) -> bool:
    return await prune(its.world.other_database, older_than=-1.0, pause=0.0) == 1


async def discard_next(its: Situation) -> bool:
    """Discard the one behind it in its lane."""
    row = tables.deliveries.c
    others = sa.select(row.event_id).where(row.event_id != its.claim.envelope.id)
    async with its.world.database.read_transaction() as transaction:
        found = await transaction.execute(others.order_by(row.position))
        event_id = found.scalars().first()
    assert event_id
    await delivery_admin.discard(its.world.other_database, event_id, HANDLER, MARIA)
    return True


async def store(its: Situation) -> None:
    """Commit one more of its lane."""
    await its.world.make_thing()


async def unblock(its: Situation) -> None:
    """Give places to what has none, and let each lane begin: as a worker does once a minute."""
    await unblock_heads(its.world.other_database)


ORDERED = Ordered(announce)
LAST_WRITES: Sequence[Do] = [complete, fail, release]
"""They skip what is locked, say so, and are made again."""
WAIT: Sequence[Do] = [complete_in_transaction, retry, discard]
"""They wait for the row. All others pass it by: a claim, a pause, retention."""
BY_TOKEN: Sequence[Do] = [*LAST_WRITES, complete_in_transaction]
STATES: Mapping[str, Sequence[Do]] = {
    "due": [claim, retry, discard, pause, prune_all],
    "lease_expired": [claim, *BY_TOKEN, retry, discard, pause, prune_all],
    "done": [claim, complete, fail, release, retry, discard, prune_all],
}
FIRST: Mapping[str, Sequence[Do]] = {
    "due": [claim, retry, discard, pause],
    "lease_expired": [claim, *BY_TOKEN, retry, discard, pause],
    "done": [prune_all],  # nothing else changes it
}
NEVER = fail, release  # a process ends its claim in one way
SITUATIONS = [(state, a) for state, several in FIRST.items() for a in several]
THIS = tables.deliveries.c.handler == HANDLER
RESULT = ("attempts", "unavailable_attempts", "token", "available_at", "parked_at", "completed_at")


class Judge:
    """One delivery in a database of its own, to which things happen one after the other."""

    def __init__(
        self, connection: sa.Connection, row: Mapping[str, Any], now: float, token: int
    ) -> None:
        metadata.create_all(connection)
        connection.execute(sa.insert(tables.deliveries).values(row))
        self._connection = connection
        self._now: sa.ColumnElement[float] = sa.literal_column(str(now), sa.Double())
        self._token = tables.deliveries.c.token == token

    def change(self, do: Do) -> bool:
        """Let something happen to the delivery, if it can; return whether it could."""
        now, lease = self._now, POLICY.lease_seconds
        changes: Mapping[Do, sa.Update | sa.Delete] = {
            claim: states.claimed(now, "a process", lease).update(THIS, ~pauses.PAUSED),
            complete: states.done(now, lease, again=True).update(THIS, self._token),
            complete_in_transaction: states.done(now, lease).update(THIS, self._token),
            fail: states.retrying(now, "an error", SECONDS).update(THIS, self._token),
            release: states.released(lease).update(THIS, self._token),
            retry: states.retried(now).update(THIS),
            discard: states.discarded(now).update(THIS),
            pause: states.held().update(THIS),
            prune_all: sa.delete(tables.deliveries).where(tables.FINISHED),
        }
        return self._connection.execute(changes[do]).rowcount == 1

    def could(self, do: Do) -> bool:
        """Tell whether something could happen to the delivery now."""
        with self._connection.begin_nested() as nested:
            has_hit = self.change(do)
            nested.rollback()
        return has_hit

    def beside(self, do: Do) -> None:
        """Let happen what something does besides: its handler is paused."""
        if do is pause:
            this = {"handler": HANDLER, "paused_at": 0.0, "paused_by": "Maria"}
            self._connection.execute(
                sa.insert(tables.handler_pauses).prefix_with("OR IGNORE"), this
            )

    def both(self, a: Do, b: Do, *, fails: bool) -> tuple[str | None, bool, Any]:
        """Let A and then B happen. Return whether B has to wait, whether it hits, and the result.

        The result is the state, and whatever decides about what comes next.
        """
        a_hits, b_could, has_hit = self.could(a), self.could(b), False
        told = None
        if (b in WAIT and a_hits) or a is b is pause:  # a handler has one pause
            told = "waits"
        elif b in LAST_WRITES and a_hits and b_could:
            told = "is locked"
        if a_hits and not fails:
            self.change(a)
            self.beside(a)
        if told or not a_hits:
            has_hit = self.change(b)
        self.beside(b)
        if not fails:
            self.beside(a)
        row = self._connection.execute(_shown(self._now)).mappings().one_or_none()
        return told, has_hit, row and dict(row)


def judged(*about: Any, a: Do, b: Do, fails: bool) -> tuple[str | None, bool, Any]:
    """Return what has to come of two statements."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        result = Judge(connection, *about).both(a, b, fails=fails)
    engine.dispose()
    return result


def _shown(now: sa.ColumnElement[float]) -> sa.Select[Any]:
    row = tables.deliveries.c
    is_owned = row.owner.is_not(None).label("is_owned")
    state = states.delivery_state(now).label("state")
    return sa.select(state, is_owned, *(row[name] for name in RESULT)).where(THIS)


@pytest.fixture
async def world(world: World, postgres_url: str) -> World:
    """A world in which workers do everything, and A can be held."""
    world.event_handlers = {**PLAIN, ThingMade: [announce]}
    world.policy = replace(POLICY, dispatch="worker")
    world.wire()
    change_from_outside(postgres_url, HOLD)
    return world


async def situation(world: World, url: str, state: str) -> Situation:
    """Make a delivery anew, and let it come so far."""
    change_from_outside(url, FORGET)
    await world.make_thing()
    store = world.delivery_store()
    [claim] = await store.claim(1, [HANDLER])
    match state:
        case "due":
            await store.release([claim])
        case "lease_expired":
            await world.end_leases()
        case "done":
            await store.complete(claim)
    return Situation(world, claim)


async def at_once(url: str, its: Situation, a: Do, b: Do, *, fails: bool) -> tuple[Any, Any]:
    """Hold A, begin B, and let A go. Return how B came to its end, and what it has returned.

    That is "waits", "is locked", or None, if it has ended before A. What is locked is tried again,
    as the engine does.
    """
    told: str | None = None
    returned: bool | None = None
    b_has_come, a_has_ended = anyio.Event(), anyio.Event()

    async def first() -> None:
        with suppress(Exception) if fails else nullcontext():
            await a(its)
        a_has_ended.set()

    async def then() -> None:
        nonlocal told, returned
        try:
            try:
                returned = await b(its)
            except DeliveryLocked:
                told = "is locked"
                b_has_come.set()
                await a_has_ended.wait()
                returned = await b(its)
        except (DeliverySuperseded, DeliveryNotFound):
            returned = False
        b_has_come.set()

    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as looking:
        await looking.execute("SELECT pg_advisory_lock(1, 1), setval('changes', 1, false)")
        await looking.execute("UPDATE fate SET fails = %s", [fails])
        with anyio.fail_after(ENOUGH_SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(first)
                while not (held := await (await looking.execute(IS_HELD)).fetchone()):
                    assert not a_has_ended.is_set(), f"{a} changes nothing"
                    await anyio.sleep(0.001)
                group.start_soon(then)
                while not b_has_come.is_set() and told is None:
                    is_waiting = (await looking.execute(WAITS, held)).rowcount > 0
                    if is_waiting and not has_passed_a_lane(its.world):
                        told = "waits"
                await looking.execute("SELECT pg_advisory_unlock(1, 1)")
    return told, returned


def has_passed_a_lane(world: World) -> bool:
    """Tell whether B has committed without its lane, for which another task waits in its place."""
    return bool(world.database.passed_lanes or world.other_database.passed_lanes)


@pytest.mark.parametrize(("state", "a"), SITUATIONS)
async def test_what_two_do_at_once_they_could_do_one_after_the_other(
    world: World, postgres_url: str, state: str, a: Do
) -> None:
    """Whatever they are, and whether the first one commits or not."""
    wrong = []
    others = [b for b in STATES[state] if (a, b) != NEVER]
    for b, fails in product(others, [False, True]):
        its = await situation(world, postgres_url, state)
        [row] = await world.rows(*tables.deliveries.c)
        [(now,)] = await world.rows(world.database.clock)
        both = partial(judged, dict(row._mapping), now, its.claim.token, a=a, b=b, fails=fails)
        expected = await to_thread.run_sync(both)

        told, returned = await at_once(postgres_url, its, a, b, fails=fails)

        has_hit = expected[1] if returned is None else returned
        if (found := (told, has_hit, await found_in(world))) != expected:
            name = f"{a.__name__} {'fails' if fails else 'commits'}, {b.__name__}"
            wrong.append(f"{name}: {found}, and not {expected}")

    assert wrong == []


async def found_in(world: World) -> Any:
    """Return what has become of the delivery."""
    async with world.database.read_transaction() as transaction:
        found = await transaction.execute(_shown(world.database.clock))
    row = found.mappings().one_or_none()
    return row and dict(row)


END: Mapping[Do, str] = {complete: "done", complete_in_transaction: "done", discard: "discarded"}
IN_LANE: Sequence[Do] = [*END, discard_next, store]
WAIT_FOR_LANE: Sequence[Do] = [discard, discard_next, store]


@pytest.mark.parametrize("a", IN_LANE)
async def test_a_lane_has_one_that_may_begin_whatever_two_do_in_it_at_once(
    world: World, postgres_url: str, a: Do
) -> None:
    """The first that is not over. To complete it, nobody waits for the lane."""
    world.event_handlers, world.keys = {**PLAIN, ThingMade: [ORDERED]}, {ThingMade: lambda _: "one"}
    world.wire()
    wrong = []
    for b, fails in product([*IN_LANE, unblock], [False, True]):
        its = await situation(world, postgres_url, "running")
        await world.make_thing()

        told, _ = await at_once(postgres_url, its, a, b, fails=fails)
        with anyio.fail_after(ENOUGH_SECONDS):
            while has_passed_a_lane(world):  # noqa: ASYNC110
                await anyio.sleep(0.001)

        expected = in_turn([b] if fails else [a, b])
        waits = b in WAIT_FOR_LANE or (b is complete_in_transaction and a in END)
        if (found := (told == "waits", await lane(world))) != (waits, expected):
            name = f"{a.__name__} {'fails' if fails else 'commits'}, {b.__name__} {told}"
            wrong.append(f"{name}: {found}, and not {(waits, expected)}")

    assert wrong == []


def in_turn(order: Sequence[Do]) -> Sequence[str]:
    """Return the states of a lane of two, of which the first one runs, after these."""
    states = ["running", "blocked"]
    for do in order:
        if do is store:
            states.append("blocked")
        elif do is discard_next:
            states[1] = "discarded"
        elif do in END and states[0] == "running":
            states[0] = END[do]
    if states[0] != "running" and "blocked" in states:
        states[states.index("blocked")] = "due"
    return states


async def lane(world: World) -> Sequence[str]:
    """Return the states of all in the lane, in its order."""
    state = states.delivery_state(world.database.clock)
    found = sa.select(state).order_by(tables.deliveries.c.position)
    async with world.database.read_transaction() as transaction:
        return (await transaction.execute(found)).scalars().all()
