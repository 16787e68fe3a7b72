"""The worker on fakes: how it shares its hands among the handlers, and when it pauses."""

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import anyio
import pytest
from aftercommit.claims import Claim
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from aftercommit.process.worker import Worker

from allocation.domain.events import Event
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import POLICY, EventHandlers, FakeApplication
from tests.fakes import FakeOutbox
from tests.things import ThingMade, ThingRenamed, a_command, things_of

pytestmark = pytest.mark.anyio

FOR_WORKERS = replace(POLICY, dispatch="worker")


class NeverWoken:
    """A database that notifies nobody."""

    def listen(self, wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        return nullcontext()


def a_worker(application: FakeApplication, *, concurrency: int) -> tuple[Worker, Shutdown]:
    parts = SimpleNamespace(bus=application.bus, database=NeverWoken())
    stop = Shutdown()
    return Worker(cast("Application", parts), stop, concurrency=concurrency), stop


async def hangs(event: Event) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize(("concurrency", "expected"), [(1, 1), (2, 1), (5, 4), (20, 19)])
async def test_a_handler_that_is_alone_may_have_nearly_all_hands(
    concurrency: int, expected: int
) -> None:
    """Hands kept free for others must not make the worker slow when there is no other work."""
    application = FakeApplication(event_handlers={ThingMade: [hangs, unused]}, policy=FOR_WORKERS)
    for _ in range(30):
        await application.bus.execute(a_command())
    keys = [key for key in application.database.deliveries if key[1] == "unused"]
    for key in keys:
        del application.database.deliveries[key]
    worker, _ = a_worker(application, concurrency=concurrency)

    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        with anyio.fail_after(60):
            while in_hand(application) < expected:
                await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert in_hand(application) == expected
        group.cancel_scope.cancel()


async def unused(event: Event) -> None:
    """Have nothing to do."""


def in_hand(application: FakeApplication) -> int:
    return sum(row.attempts for row in application.database.deliveries.values())


async def test_a_worker_that_ends_when_idle_does_what_its_last_delivery_has_caused() -> None:
    """Its handler was just paused: while it runs, nothing else seems to be left."""
    started, goes_on = anyio.Event(), anyio.Event()

    class Paused(FakeOutbox):
        async def seconds_until_due(
            self, handlers: Collection[str], *, scheduled: bool = True
        ) -> float | None:
            if not started.is_set() or goes_on.is_set():
                return await super().seconds_until_due(handlers, scheduled=scheduled)
            goes_on.set()
            await anyio.wait_all_tasks_blocked()
            return None

    async def rename(event: ThingMade, uow: UnitOfWork) -> None:
        started.set()
        await goes_on.wait()
        (await things_of(uow).get(event.thing_id)).rename("another")

    renamed: list[Event] = []

    async def works(event: ThingRenamed) -> None:
        renamed.append(event)

    handlers: EventHandlers = {ThingMade: [rename], ThingRenamed: [works]}
    application = FakeApplication(event_handlers=handlers, policy=FOR_WORKERS)
    application.outbox = Paused(application.database, FOR_WORKERS)
    application.wire()
    await application.bus.execute(a_command())
    worker, _ = a_worker(application, concurrency=20)

    with anyio.fail_after(60):
        await worker.run(until_idle=True)

    assert len(renamed) == 1


class LockedByOthers(FakeOutbox):
    """An outbox whose due rows are locked by somebody else."""

    claims = 0

    async def claim(self, limit: int, handlers: Collection[str]) -> list[Claim]:
        assert limit > 0
        self.claims += 1
        return []


async def test_a_due_row_that_somebody_has_locked_does_not_make_the_worker_spin() -> None:
    """Whoever looks at a row in psql must not cost a processor."""
    application = FakeApplication(event_handlers={ThingMade: [hangs]}, policy=FOR_WORKERS)
    application.outbox = LockedByOthers(application.database, FOR_WORKERS)
    application.wire()
    await application.bus.execute(a_command())
    worker, _ = a_worker(application, concurrency=20)

    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        await anyio.wait_all_tasks_blocked()
        assert application.outbox.claims == 1
        group.cancel_scope.cancel()
