"""The queue of writers, without a database: who has the next turn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from math import inf

import anyio
import pytest
from anyio import CancelScope, create_task_group, wait_all_tasks_blocked
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from aftercommit_tests.inside.stored import writer_queue
from aftercommit_tests.misbehaving import LIMIT_SECONDS

pytestmark = pytest.mark.anyio

Writer = writer_queue.Writer
AS_THEY_COME = [Writer.OTHER, Writer.LAST, Writer.COMMAND, Writer.DELIVERY, Writer.REPLY]


class Line:
    """A queue whose first turn a test holds, and the order in which others have theirs."""

    def __init__(self, group: TaskGroup) -> None:
        self.queue, self.had = writer_queue.WriterQueue(), list[Writer]()
        self._group, self._release = group, anyio.Event()

    async def hold(self, afterwards: Callable[[], object] = lambda: None) -> None:
        """Have the turn until it is to end; do something before the next one can run."""

        async def have(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with self.queue.turn(Writer.OTHER):
                task_status.started()
                await self._release.wait()
            afterwards()

        await self._group.start(have)

    async def join(self, writer: Writer, scope: CancelScope | None = None) -> None:
        """Let one more writer wait."""

        async def wait() -> None:
            with scope or CancelScope():
                async with self.queue.turn(writer):
                    self.had.append(writer)
                    await checkpoint()

        self._group.start_soon(wait)
        await wait_all_tasks_blocked()

    async def end_the_turn(self) -> None:
        """Let all have theirs."""
        self._release.set()
        await wait_all_tasks_blocked()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    with anyio.fail_after(LIMIT_SECONDS):
        async with create_task_group() as group:
            yield Line(group)
            group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("a_while", "turns"),
    [
        (inf, [Writer.DELIVERY, Writer.OTHER, Writer.COMMAND, Writer.LAST, Writer.REPLY]),
        (-1.0, [Writer.LAST, Writer.REPLY, Writer.DELIVERY, Writer.OTHER, Writer.COMMAND]),
    ],
    ids=["at first", "after a while"],
)
async def test_a_claimed_delivery_goes_first_and_last_writes_let_others_pass_for_a_while(
    line: Line, monkeypatch: pytest.MonkeyPatch, a_while: float, turns: list[Writer]
) -> None:
    """Those of one place come in order."""
    monkeypatch.setattr(writer_queue, "A_WHILE", a_while)
    await line.hold()
    for writer in AS_THEY_COME:
        await line.join(writer)

    assert line.had == []
    await line.end_the_turn()

    assert line.had == turns
    await line.join(Writer.OTHER)
    assert line.had[-1] is Writer.OTHER  # and nobody is left who has it


async def test_who_is_cancelled_in_the_queue_has_no_turn_and_keeps_nobody_from_his(
    line: Line,
) -> None:
    """Nobody waits for him either: the queue goes on without him."""
    waiting = CancelScope()
    await line.hold()
    await line.join(Writer.DELIVERY, waiting)
    await line.join(Writer.COMMAND)
    waiting.cancel()
    await wait_all_tasks_blocked()

    await line.end_the_turn()

    assert line.had == [Writer.COMMAND]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_turn_that_comes_to_a_task_that_is_cancelled_goes_to_the_next(line: Line) -> None:
    """An event loop cancels what has not woken up since it was given its turn; no scope does."""

    async def wait() -> None:
        async with line.queue.turn(Writer.DELIVERY):
            line.had.append(Writer.DELIVERY)

    await line.hold(afterwards=lambda: task.cancel())
    task = asyncio.create_task(wait())
    await wait_all_tasks_blocked()
    await line.join(Writer.COMMAND)

    await line.end_the_turn()

    assert task.cancelled()
    assert line.had == [Writer.COMMAND]


async def test_after_a_long_turn_only_last_writes_follow_at_once(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has time for a turn of its own."""
    monkeypatch.setattr(writer_queue, "LONG_SECONDS", -1.0)
    monkeypatch.setattr(writer_queue, "LOOK_SECONDS", inf)
    await line.hold()
    for writer in (Writer.REPLY, Writer.LAST):
        await line.join(writer)
    await line.end_the_turn()

    assert line.had == [Writer.REPLY, Writer.LAST]
    await line.join(Writer.DELIVERY)
    assert line.had == [Writer.REPLY, Writer.LAST]  # it waits
