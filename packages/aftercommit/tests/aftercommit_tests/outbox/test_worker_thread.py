"""The thread of `running_sync`: whenever its context is left, it ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event, Thread
from time import sleep

import anyio
import pytest

from aftercommit_tests.inside.process import WorkerThread
from aftercommit_tests.misbehaving import LIMIT_SECONDS


@asynccontextmanager
async def running() -> AsyncIterator[None]:
    """Do nothing, in the place of a worker."""
    yield


def test_a_worker_that_has_no_event_loop_yet_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A forked child that leaves just after its first commit would hang for ever."""
    begun, may_go_on, run = Event(), Event(), anyio.run

    def run_later(*args: object, **options: object) -> object:
        begun.set()
        may_go_on.wait(LIMIT_SECONDS)
        return run(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(anyio, "run", run_later)
    worker = WorkerThread(running, event_loop="asyncio")
    worker.start()
    assert begun.wait(LIMIT_SECONDS)

    stopping = Thread(target=worker.stop, daemon=True)
    stopping.start()
    while not worker._is_over and stopping.is_alive():
        sleep(0.01)
    may_go_on.set()
    stopping.join(LIMIT_SECONDS)

    assert not stopping.is_alive()


def test_nothing_starts_a_worker_when_its_context_is_left() -> None:
    """A commit of another thread may come at that moment: the worker would survive its context."""
    worker = WorkerThread(running, event_loop="asyncio")
    starting, may_go_on, start = Event(), Event(), worker.start

    def start_later() -> object:
        starting.set()
        may_go_on.wait(LIMIT_SECONDS)
        return start()

    worker.start = start_later  # type: ignore[assignment,method-assign]
    commit = Thread(target=worker.start_if_ended)
    commit.start()
    assert starting.wait(LIMIT_SECONDS)
    stopping = Thread(target=worker.stop)
    stopping.start()
    stopping.join(0.2)
    assert stopping.is_alive()  # it waits for the one that is starting
    may_go_on.set()
    for each in commit, stopping:
        each.join(LIMIT_SECONDS)
    assert not worker._thread.is_alive()

    worker.start_if_ended()

    assert not worker._thread.is_alive()
