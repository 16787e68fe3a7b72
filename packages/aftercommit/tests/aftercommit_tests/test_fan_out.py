"""The fan-out: from a command to all handlers of what it caused, as slots and leases allow."""

from dataclasses import replace
from math import inf
from typing import Any

import anyio
import pytest
from aftercommit import IdempotencyKey, Observer, Outcome, Unsubscribed
from aftercommit.errors import LeaseExpired
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker
from anyio.lowlevel import checkpoint

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import POLICY, a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import Handler
from aftercommit_tests.misbehaving import LIMIT_SECONDS, hangs, on_change, on_made, works
from aftercommit_tests.things.domain import (
    Event,
    ThingMade,
    ThingRenamed,
)
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio

PATIENT = replace(POLICY, handler_timeout_seconds=1000, lease_seconds=2000)


async def test_all_handlers_of_an_event_run_concurrently(new_world: NewWorld) -> None:
    """A slow mail server must not delay the others.

    The handler of a following event meets the siblings of the handler that caused it.
    """
    arrived, all_are_here = list[str](), anyio.Event()

    def attending(name: str) -> Handler[Any, Any]:
        async def attends(event: Event) -> None:
            arrived.append(name)
            if len(arrived) == 3:
                all_are_here.set()
            await all_are_here.wait()

        attends.__name__ = name
        return attends

    first, second, follows = map(attending, "abc")
    world = await new_world(event_handlers=on_change(follows, beside=(first, second)))

    report = await world.bus.handle(a_command())

    assert report.failures == []
    assert [type(each.event) for each in report.events] == [ThingMade, ThingRenamed]
    assert await world.deliveries() == {}


async def test_every_attempt_gets_a_unit_of_work_of_its_own(new_world: NewWorld) -> None:
    """Sharing one between handlers is the best-known trap of the book's code."""
    units = []

    async def first(event: Event, uow: UnitOfWork) -> None:
        units.append(uow)

    async def second(event: Event, uow: UnitOfWork) -> None:
        units.append(uow)

    world = await new_world(event_handlers=on_made(first, second))
    await world.bus.handle(a_command())

    assert len({id(unit) for unit in units}) == 2


async def test_no_more_handlers_run_at_once_than_there_are_slots(new_world: NewWorld) -> None:
    """Hundreds of events at once would all have one lease, and take each other's time."""
    running = most = 0

    async def count(event: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10):
            await checkpoint()
        running -= 1

    world = await new_world(event_handlers=on_made(count), slots=3)

    report = await world.bus.run(await world.made(20))

    assert (report.failures, most) == ([], 3)
    assert await world.deliveries() == {}


async def test_a_slot_is_free_when_its_handler_has_ended_not_its_tree(new_world: NewWorld) -> None:
    """Otherwise, parents that wait for their children would hold all slots, forever."""
    world = await new_world(event_handlers=on_change(works), slots=1)
    claims = await world.made(3)

    with anyio.fail_after(LIMIT_SECONDS):
        report = await world.bus.run(claims)

    assert len(report.events) == 3
    assert await world.deliveries() == {}


class Released(Observer):
    """Sees when something is left to workers."""

    def __init__(self) -> None:
        self.seen = anyio.Event()

    def finished(self, outcome: Outcome) -> None:
        if outcome.status == "handed over":
            self.seen.set()


async def test_what_has_no_time_left_to_begin_is_handed_over_at_once(new_world: NewWorld) -> None:
    """In one write: it comes when there is too much to do already."""
    released = Released()

    async def busy(event: Event) -> None:
        await released.seen.wait()

    handlers = on_made(busy)
    world = await new_world(event_handlers=handlers, policy=PATIENT, slots=1, observers=[released])
    made = await world.made(5)
    latest = PATIENT.begin_seconds - 2.0  # a busy machine begins with the first in that time
    claims = [replace(each, leased_at=anyio.current_time() - latest) for each in made]

    with asked_of(world.database) as asked, anyio.fail_after(LIMIT_SECONDS):
        report = await world.bus.run(claims)

    assert [(type(f.error), f.retry_in) for f in report.failures] == [(LeaseExpired, 0.0)] * 4
    assert await world.untouched() == ["busy"] * 4
    writes = [each.sql for each in asked if each.sql.startswith("UPDATE")]
    assert len(writes) == 2  # of what was handed over, and of what is done


async def test_what_waits_for_a_slot_is_given_back_when_its_handler_is_paused(
    new_world: NewWorld,
) -> None:
    """An operator has paused it because of what it does: it must do no more of it."""
    begun: list[Event] = []

    async def spams(event: Event) -> None:
        begun.append(event)
        await world.pause("spams")

    world = await new_world(event_handlers=on_made(spams), slots=1)
    first, *others = await world.made(3)
    world.wire()  # what it knows of pauses is not from just now
    at_once = replace(first, leased_at=inf)  # however slow the machine: it has not waited
    waiting = [replace(claim, leased_at=claim.leased_at - 1) for claim in others]

    report = await world.bus.run([at_once, *waiting])

    assert (len(begun), report.failures) == (1, [])
    await world.resume("spams")
    assert await world.untouched() == ["spams"] * 2


async def test_what_waits_for_a_slot_is_given_back_when_cancelled(new_world: NewWorld) -> None:
    """A worker can then do at once what was not begun."""
    begun = anyio.Event()

    async def begins(event: Event) -> None:
        begun.set()
        await anyio.sleep_forever()

    world = await new_world(event_handlers=on_made(begins), slots=1)
    claims = await world.made(3)

    async with anyio.create_task_group() as group:
        group.start_soon(world.bus.run, claims)
        await begun.wait()
        group.cancel_scope.cancel()

    assert await world.untouched() == ["begins"] * 3


async def test_what_has_no_handler_in_this_process_is_left_to_another(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """A port may not be configured here: that is no failed attempt, and no KeyError.

    A worker names it when it starts, or nobody would know why it does nothing.
    """
    world = await new_world(event_handlers=on_made(works))
    claims = await world.made()
    elsewhere = replace(world.bus, registry=replace(world.bus.registry, events={}))

    report = await elsewhere.run(claims)

    assert report.failures == []
    assert await world.untouched() == ["works"]
    caplog.set_level("INFO")
    Worker(replace(world.application, bus=elsewhere), Shutdown(), concurrency=1)
    assert "deliveries to works wait for a process that has their ports" in caplog.text


async def test_what_is_left_to_another_holds_no_lease_of_the_rest_when_cancelled(
    new_world: NewWorld,
) -> None:
    """All of it is given back, whether it would have run here or there."""
    world = await new_world(event_handlers=on_made(works, hangs))
    claims = await world.made()
    known = {"works": world.bus.registry.events["works"]}
    here = replace(world.bus, registry=replace(world.bus.registry, events=known))

    with anyio.CancelScope() as scope:
        scope.cancel()
        await here.run(claims)

    assert await world.untouched() == ["hangs", "works"]


async def test_an_unsubscribed_handler_does_what_is_stored_and_gets_nothing_new(
    new_world: NewWorld,
) -> None:
    """A release that removed it at once would leave deliveries that no process can run."""
    world = await new_world(event_handlers=on_made(works))
    await world.made()
    world.event_handlers = on_made(Unsubscribed(works))
    world.wire()

    claims = await world.made()
    await world.move_clock(POLICY.lease_seconds + 1)
    stored = await world.delivery_store().claim(10, ["works"])
    await world.bus.run(stored)

    assert (len(claims), len(stored)) == (0, 1)
    assert await world.deliveries() == {}


async def test_a_renamed_handler_still_gets_its_deliveries(new_world: NewWorld) -> None:
    """Rows written before the renaming keep their key, and so their idempotency key."""
    keys = []

    async def greet(event: Event, idempotency_key: IdempotencyKey) -> None:
        keys.append(idempotency_key)

    async def send_hello(event: Event) -> None: ...

    world = await new_world(event_handlers=on_made(send_hello))
    [claim] = await world.made()
    world.event_handlers, world.renamed = on_made(greet), {"send_hello": "greet"}
    world.wire()

    await world.bus.run([claim])

    assert keys == [f"{claim.envelope.id}:send_hello"]
    assert await world.deliveries() == {}
