"""The worker: how it shares its slots among the handlers, and when it looks for more."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import anyio
import pytest
from aftercommit import IdempotencyKey, Limited, Ordered
from aftercommit.errors import TransientError
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker
from sqlalchemy import select, update

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import POLICY
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.driver_calls import Call
from aftercommit_tests.inside.claims import Claim, Failure
from aftercommit_tests.inside.errors import DeliveryLocked, HandlerNotFound
from aftercommit_tests.inside.process import commands, worker
from aftercommit_tests.inside.stored import deliveries
from aftercommit_tests.misbehaving import LIMIT_SECONDS, hangs, on_made
from aftercommit_tests.things.app import Settings
from aftercommit_tests.things.domain import Event, RenameThing, ThingMade, ThingRenamed
from aftercommit_tests.world import World, open_world

pytestmark = pytest.mark.anyio

FOR_WORKERS = replace(POLICY, dispatch="worker")


def a_worker(world: World, concurrency: int = 20) -> Worker:
    return Worker(world.application, Shutdown(), concurrency=concurrency)


async def unused(event: ThingRenamed) -> None:
    """Have nothing to do."""


@pytest.mark.parametrize(("concurrency", "expected"), [(1, 1), (2, 1), (5, 4), (20, 19)])
async def test_a_handler_that_is_alone_may_have_nearly_all_slots(
    new_world: NewWorld, concurrency: int, expected: int
) -> None:
    """Slots kept free for others must not make the worker slow when there is no other work.

    How many they are is in `test_hanging_handlers.py`.
    """
    begun, all_begun = [], anyio.Event()

    async def stays(event: Event) -> None:
        begun.append(event)
        if len(begun) == expected:
            all_begun.set()
        await anyio.sleep_forever()

    handlers = {**on_made(stays), ThingRenamed: [unused]}
    world = await new_world(event_handlers=handlers, policy=FOR_WORKERS)
    await world.made(30)

    async with anyio.create_task_group() as group:
        group.start_soon(a_worker(world, concurrency).run)
        with anyio.fail_after(LIMIT_SECONDS):
            await all_begun.wait()
        group.cancel_scope.cancel()


@pytest.mark.parametrize("name", ["write_down", "scribble"])
async def test_a_worker_runs_only_the_handlers_that_its_command_names(
    new_world: NewWorld, name: str
) -> None:
    """By whichever name deliveries are stored; the others wait for another worker, uncounted."""
    world = await new_world(renamed={"scribble": "write_down"}, policy=FOR_WORKERS)
    await world.make_thing()
    await world.make_thing()
    before = await world.untouched()
    [first, *_] = await world.rows(deliveries.c.event_id)
    old_name = update(deliveries).where(
        deliveries.c.handler == "write_down", deliveries.c.event_id == first.event_id
    )
    await world.execute(old_name.values(handler="scribble"))
    service = commands.worker_service(Settings(), only=[name], until_idle=True)

    with anyio.fail_after(LIMIT_SECONDS):
        await service(world.application, Shutdown())

    assert before.count("write_down") == 2
    assert await world.untouched() == [each for each in before if each != "write_down"]


async def test_a_misspelt_name_of_a_handler_is_told_before_anything_runs(
    new_world: NewWorld,
) -> None:
    """A worker that runs nothing would look like one that works. Names that are like it help."""
    world = await new_world(renamed={"scribble": "write_down"}, policy=FOR_WORKERS)
    service = commands.worker_service(Settings(), only=["write_down", "look_t"], until_idle=True)

    with pytest.raises(HandlerNotFound, match="'look_t' is not a handler of .*similar are look_at"):
        await service(world.application, Shutdown())


async def test_a_worker_that_ends_when_idle_does_what_its_last_delivery_has_caused(
    new_world: NewWorld,
) -> None:
    """Its handler was just paused: while it runs, nothing else seems to be left."""
    renamed: list[Event] = []
    stop = Shutdown()

    async def ask(event: ThingMade) -> RenameThing:
        await world.pause("ask")
        with asked_of(world.database) as asked:
            while len(asked) < 2 and not stop.is_set():  # noqa: ASYNC110 - it has not looked again
                await anyio.sleep(0.01)
        return RenameThing(thing_id=event.thing_id, name="another")

    async def works(event: ThingRenamed) -> None:
        renamed.append(event)

    handlers = {**on_made(ask), ThingRenamed: [works]}
    world = await new_world(event_handlers=handlers, policy=FOR_WORKERS)
    await world.made()

    with anyio.fail_after(LIMIT_SECONDS):
        await Worker(world.application, stop, concurrency=20).run(until_idle=True)

    assert len(renamed) == 1


async def test_a_due_row_that_somebody_has_locked_does_not_make_the_worker_spin(
    postgres_url: str,
) -> None:
    """Anyone who looks at a row in psql must not cost a processor."""
    handlers = on_made(hangs)
    async with open_world(postgres_url, event_handlers=handlers, policy=FOR_WORKERS) as world:
        await world.made()
        async with world.other_database.write_transaction() as transaction:
            await transaction.execute(select(deliveries).with_for_update())
            async with anyio.create_task_group() as group:
                with asked_of(world.database) as asked:
                    group.start_soon(a_worker(world).run)
                    with anyio.fail_after(LIMIT_SECONDS):
                        while not claims_in(asked):  # noqa: ASYNC110 - it has not begun
                            await anyio.sleep(0.01)
                    await anyio.sleep(0.5)
                group.cancel_scope.cancel()

    assert len(claims_in(asked)) < 10


def claims_in(asked: list[Call]) -> list[str]:
    return [each.sql for each in asked if each.sql.startswith(("WITH due", "WITH found"))]


async def test_a_worker_says_that_it_has_begun_and_from_whom_it_takes_over(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator sees in its log that a process has died."""
    done = anyio.Event()
    caplog.set_level("INFO", "aftercommit")

    async def works(event: ThingMade) -> None:
        done.set()

    world = await new_world(event_handlers=on_made(works), policy=FOR_WORKERS)
    await world.made()
    await world.bus.delivery_store.claim(1, ["works"])  # and dies
    await world.end_leases()

    async with anyio.create_task_group() as group:
        group.start_soon(a_worker(world).run)
        with anyio.fail_after(LIMIT_SECONDS):
            await done.wait()
        group.cancel_scope.cancel()

    process = world.database.process
    begun, taken_over = (each.message for each in caplog.records if process in each.message)
    assert begun == f"the worker {process} has begun: 1 handlers, up to 20 deliveries at a time"
    assert taken_over == f"taken over from {process}, whose lease has expired: works (1)"


async def test_a_worker_says_that_a_key_has_changed(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits in lanes of the old key goes on beside what is in those of the new one."""

    async def works(event: ThingMade) -> None: ...

    world = await new_world(event_handlers=on_made(Ordered(works)), policy=FOR_WORKERS)
    await world.made(2)
    world.keys = {ThingMade: lambda event: event.name}
    world.wire()
    await world.made(2)

    with anyio.fail_after(LIMIT_SECONDS):
        await a_worker(world).run(until_idle=True)

    [told] = [each.message for each in caplog.records if "now ordered as" in each.message]
    assert told.startswith("works has deliveries in the lane works:")


@pytest.mark.parametrize(("beside", "sent"), [(False, 1), (True, 2)])
async def test_an_effect_is_not_repeated_when_the_worker_claims_what_it_could_not_complete(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch, beside: bool, sent: int
) -> None:
    """While a claim waits in line, leases end, and last writes wait for the same lock.

    If another process had the delivery in between, that has decided what becomes of it.
    """
    keys: list[IdempotencyKey] = []
    claims_again, given_up = anyio.Event(), anyio.Event()

    async def sends(event: ThingMade, idempotency_key: IdempotencyKey) -> None:
        keys.append(idempotency_key)
        await claims_again.wait()

    async def in_line(limit: int, handlers: Collection[str]) -> Sequence[Claim]:
        if keys and not given_up.is_set():
            claims_again.set()
            await given_up.wait()
            await world.end_leases()
            if beside:
                await world.delivery_store().release(
                    await world.delivery_store().claim(10, ["sends"])
                )
        return await claim(limit, handlers)

    async def locked(delivery: Claim, *, follow: bool = True) -> Sequence[Claim]:
        if not given_up.is_set():
            raise TransientError
        return await complete(delivery, follow=follow)

    async def locked_at_last(failure: Failure) -> None:
        given_up.set()
        raise TransientError

    world = await new_world(event_handlers=on_made(sends), policy=FOR_WORKERS)
    await world.made()
    store = world.bus.delivery_store
    claim, complete = store.claim, store.complete
    monkeypatch.setattr(store, "claim", in_line)
    monkeypatch.setattr(store, "complete", locked)
    monkeypatch.setattr(store, "record_failure", locked_at_last)

    with anyio.fail_after(LIMIT_SECONDS):
        await a_worker(world, concurrency=2).run(until_idle=True)

    assert (len(keys), len({*keys})) == (sent, 1)
    assert await world.deliveries() == {}


async def test_what_could_not_be_stored_is_stored_when_the_worker_stops(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the effect is out, only this process knows: another one would repeat it."""
    shutdown, sent = Shutdown(), list[IdempotencyKey]()

    async def sends(event: ThingMade, idempotency_key: IdempotencyKey) -> None:
        sent.append(idempotency_key)

    async def unavailable(delivery: Claim, *, follow: bool = True) -> Sequence[Claim]:
        if not shutdown.is_set():
            raise TransientError
        return await complete(delivery, follow=follow)

    async def stopped(failure: Failure) -> None:
        shutdown.set()
        raise TransientError

    world = await new_world(event_handlers=on_made(sends), policy=FOR_WORKERS)
    await world.made()
    complete = world.bus.delivery_store.complete
    monkeypatch.setattr(world.bus.delivery_store, "complete", unavailable)
    monkeypatch.setattr(world.bus.delivery_store, "record_failure", stopped)

    with anyio.fail_after(LIMIT_SECONDS):
        await Worker(world.application, shutdown, concurrency=2).run()

    assert len(sent) == 1
    assert await world.deliveries() == {}


async def test_a_worker_that_stops_waits_between_its_last_tries(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that somebody has locked was tried 95,000 times a second."""
    shutdown, tries, pauses = Shutdown(), list[Claim](), list[float]()

    async def locked(delivery: Claim, *, follow: bool = True) -> Sequence[Claim]:
        if not shutdown.is_set():
            raise TransientError
        tries.append(delivery)
        if len(tries) < 5:
            raise DeliveryLocked
        return await complete(delivery, follow=follow)

    async def stopped(failure: Failure) -> None:
        shutdown.set()
        raise TransientError

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    world = await new_world(event_handlers=on_made(sends), policy=FOR_WORKERS)
    await world.made()
    complete = world.bus.delivery_store.complete
    monkeypatch.setattr(world.bus.delivery_store, "complete", locked)
    monkeypatch.setattr(world.bus.delivery_store, "record_failure", stopped)
    monkeypatch.setattr(worker, "sleep", pause)

    with anyio.fail_after(LIMIT_SECONDS):
        await Worker(world.application, shutdown, concurrency=2).run()

    assert await world.deliveries() == {}
    assert len(pauses) in (3, 4)  # it may be tried before the loop sees that it has to stop


async def test_a_last_write_that_fails_each_time_stops_no_other_delivery(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger on one row, say, that takes too long: until its lease ends, nothing was claimed."""
    shutdown, first = Shutdown(), list[Claim]()

    async def fails(delivery: Claim, *, follow: bool = True) -> Sequence[Claim]:
        first.append(delivery)
        if delivery.envelope.id == first[0].envelope.id:
            raise TransientError
        return await complete(delivery, follow=follow)

    async def not_stored(failure: Failure) -> None:
        raise TransientError

    world = await new_world(event_handlers=on_made(sends), policy=FOR_WORKERS)
    await world.made()
    store = world.bus.delivery_store
    complete = store.complete
    monkeypatch.setattr(store, "complete", fails)
    monkeypatch.setattr(store, "record_failure", not_stored)

    async with anyio.create_task_group() as group:
        group.start_soon(Worker(world.application, shutdown, concurrency=2).run)
        with anyio.fail_after(LIMIT_SECONDS):
            while not first:  # noqa: ASYNC110 - it has not begun
                await anyio.sleep(0.01)
            await world.made(5)
            while len(await world.deliveries()) > 1:  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()

    assert [*await world.deliveries()] == [(first[0].envelope.id, "sends")]


async def test_a_race_that_is_lost_for_long_costs_no_more_than_a_wait(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A power without a bound is no float after 1,024 losses, and stopped all claims."""
    lost = 0

    async def due_now(handlers: Collection[str], *, scheduled: bool = True) -> float | None:
        return 0.0

    async def loses(limit: int, handlers: Collection[str]) -> Sequence[Claim]:
        nonlocal lost
        lost += 1
        return () if lost < 1500 else await claim(limit, handlers)

    limited: Limited[ThingMade, object] = Limited(sends, at_once=1)
    world = await new_world(event_handlers=on_made(limited), policy=FOR_WORKERS)
    await world.made()
    store = world.bus.delivery_store
    claim = store.claim
    monkeypatch.setattr(store, "seconds_until_due", due_now)
    monkeypatch.setattr(store, "claim", loses)
    monkeypatch.setattr(worker, "RACE_SECONDS", 0.0)

    async with anyio.create_task_group() as group:
        group.start_soon(a_worker(world).run)
        with anyio.fail_after(LIMIT_SECONDS):
            while await world.deliveries():  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()

    assert "tries again" not in caplog.text


async def sends(event: ThingMade, idempotency_key: IdempotencyKey) -> None:
    """Have an effect outside."""
