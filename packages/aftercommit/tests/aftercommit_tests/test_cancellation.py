"""Cancellation, in whatever moment: it passes, and what became of the work is stored before."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import anyio
import pytest
from aftercommit import Observer, Outcome
from aftercommit.errors import NotCompleted
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from sqlalchemy import text

from aftercommit_tests.builders import POLICY, a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.misbehaving import LIMIT_SECONDS, on_made
from aftercommit_tests.things.domain import Event
from aftercommit_tests.things.handlers import write_down
from aftercommit_tests.world import StoredDelivery, World

pytestmark = pytest.mark.anyio

Step = Callable[[], Awaitable[object]]
LOCKED_SECONDS = 20  # far longer than anybody may wait for a last write
BRIEF = replace(POLICY, handler_timeout_seconds=3.0, lease_seconds=8.0)


@pytest.fixture
def sqlite_url(sqlite_url: str) -> str:
    """A new database; who waits for the lock of another process is told after a second."""
    return f"{sqlite_url}?timeout=1"


class OtherWriter(Observer):
    """Another process, which takes the only write lock, at the latest until an attempt is over."""

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()

    async def write(self, world: World, *, task_status: TaskStatus[None]) -> None:
        """Have the lock; not forever, so that nobody can wait forever."""
        self._scope.deadline = anyio.current_time() + LOCKED_SECONDS
        with self._scope:
            async with world.other_database.write_transaction():
                task_status.started()
                await anyio.sleep_forever()

    @contextmanager
    def attempt(self, delivery: Claim, seconds: float) -> Iterator[None]:
        try:
            yield
        finally:
            self._scope.cancel()


class Statuses(Observer):
    """An observer that knows what has become of each work item."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def finished(self, outcome: Outcome) -> None:
        self.seen.append((outcome.work.name, outcome.status))


async def stopped(world: World, before: Step = checkpoint, then: Step | None = None) -> None:
    """Handle a command whose caller gives up while the handler runs, between these two steps."""

    async def interrupted(event: Event) -> None:
        await before()
        scope.cancel()
        if then:
            await then()

    world.event_handlers = on_made(interrupted)
    world.wire()
    with anyio.fail_after(LIMIT_SECONDS), anyio.CancelScope() as scope:
        await world.bus.handle(a_command())
    assert scope.cancel_called


async def the_row(world: World) -> StoredDelivery:
    [row] = (await world.deliveries()).values()
    return row


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_by_asyncio_itself_passes(new_world: NewWorld) -> None:
    """Somebody who runs the bus in asyncio's own time-out has to be heard."""

    async def slow(event: Event) -> None:
        limit.reschedule(asyncio.get_running_loop().time())
        await anyio.sleep_forever()

    world = await new_world(event_handlers=on_made(slow))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LIMIT_SECONDS) as limit:
            await world.bus.handle(a_command())

    assert await world.untouched() == ["slow"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_whoever_has_started_a_task_may_cancel_it(new_world: NewWorld) -> None:
    """As asyncio does with all tasks at its end; AnyIO names them like the engine's own."""

    async def is_cancelled(event: Event) -> None:
        [task] = asyncio.all_tasks() - before
        task.cancel()
        await anyio.sleep_forever()

    world = await new_world(event_handlers=on_made(is_cancelled))
    committed = await world.bus.execute(a_command())
    before = asyncio.all_tasks()
    async with anyio.create_task_group() as group:
        group.start_soon(world.bus.run, committed.claims)

    assert await world.untouched() == ["is_cancelled"]


class GivesUp(Observer):
    """A caller that gives up when an attempt begins, and before its handler does."""

    scope: anyio.CancelScope

    @contextmanager
    def attempt(self, delivery: Claim, seconds: float) -> Iterator[None]:
        self.scope.cancel()
        yield


@pytest.mark.everywhere
async def test_what_is_cancelled_before_its_handler_begins_is_given_back(
    new_world: NewWorld,
) -> None:
    """Nobody waits for the end of its lease, and no attempt counts: it waited for a transaction."""
    caller = GivesUp()
    world = await new_world(event_handlers=on_made(write_down), observers=[caller])
    with anyio.fail_after(LIMIT_SECONDS), anyio.CancelScope() as caller.scope:
        await world.bus.handle(a_command())

    assert caller.scope.cancelled_caught
    assert await world.untouched() == ["write_down"]


async def test_a_failure_is_stored_also_when_it_is_the_answer_to_a_cancellation(
    new_world: NewWorld,
) -> None:
    """The lease is not left to run out, and the error is not lost: observers learn of it, too."""

    async def clumsy() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("connection reset")

    statuses = Statuses()
    world = await new_world(observers=[statuses])
    await stopped(world, then=clumsy)

    row = await the_row(world)
    assert row.last_error == "OSError: connection reset"
    assert row.available_at < POLICY.lease_seconds
    assert statuses.seen[1:] == [("interrupted", "retried")]


async def test_work_that_is_done_is_completed_also_when_cancelled_just_then(
    new_world: NewWorld,
) -> None:
    """Otherwise the e-mail would be sent twice. Observers count it, as whatever is done."""
    statuses = Statuses()
    world = await new_world(observers=[statuses])

    await stopped(world)

    assert len(await world.finished()) == 1
    assert statuses.seen == [("MakeThing", "succeeded"), ("interrupted", "succeeded")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_last_write_survives_a_cancellation_by_asyncio_itself(new_world: NewWorld) -> None:
    """No scope protects from it, and servers and libraries do it."""

    async def sends(event: Event) -> None:
        asyncio.get_running_loop().call_soon(task.cancel)  # so it comes in the last write

    world = await new_world(event_handlers=on_made(sends))
    task = asyncio.create_task(world.bus.handle(a_command()))
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(await world.finished()) == 1


async def test_work_that_is_done_and_cannot_be_stored_in_its_lease_counts_as_a_failure(
    new_world: NewWorld,
) -> None:
    """Given back as if it had not begun, an e-mail would be sent again and again."""
    other = OtherWriter()

    async def sends(event: Event) -> None:
        await group.start(other.write, world)

    world = await new_world(event_handlers=on_made(sends), policy=BRIEF, observers=[other])
    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            report = await world.bus.handle(a_command())

    assert [type(failure.error) for failure in report.failures] == [NotCompleted]
    row = await the_row(world)
    assert (row.attempts, row.held) == (1, False)


async def test_work_that_is_done_is_not_given_back_by_a_cancellation(new_world: NewWorld) -> None:
    """Nor is it waited for: the lease ends by itself, and the attempt counts."""
    other = OtherWriter()
    world = await new_world(observers=[other])

    async with anyio.create_task_group() as group:
        await stopped(world, before=partial(group.start, other.write, world))

    row = await the_row(world)
    assert (row.attempts, row.held) == (1, True)


async def test_a_stopped_handler_does_not_wait_for_ever_for_its_last_word(
    new_world: NewWorld,
) -> None:
    """Shutting down has a limit, whatever the database does."""
    world = await new_world()

    async with anyio.create_task_group() as group:
        begin = partial(group.start, OtherWriter().write, world)
        await stopped(world, before=begin, then=anyio.sleep_forever)
        group.cancel_scope.cancel()

    assert (await the_row(world)).held


async def test_a_lease_that_cannot_be_given_back_does_not_hide_the_cancellation(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Swallowing cancellation would hang the program."""
    world = await new_world()
    drop = partial(world.execute, text("DROP TABLE aftercommit_deliveries"))

    await stopped(world, before=drop, then=anyio.sleep_forever)

    assert "the last write of a cancelled task failed" in caplog.text


async def test_a_completion_that_fails_does_not_hide_the_cancellation_either(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Taken for a failure of the handler, the effect would be repeated after a short pause."""
    world = await new_world()
    drop = partial(world.execute, text("DROP TABLE aftercommit_deliveries"))

    await stopped(world, before=drop)

    assert "the last write of a cancelled task failed" in caplog.text
    assert "next attempt in" not in caplog.text
