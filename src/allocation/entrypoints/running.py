"""Runs asynchronous work from a synchronous command, until it ends or somebody interrupts it."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]], *, backend: str) -> T:
    """Run `work` on an event loop and return its result.

    :raises KeyboardInterrupt: after SIGINT, when the cancelled work has left everything tidy
    """
    return anyio.run(_until_interrupted, work, backend=backend)


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """Open a task group that raises the first error as it is, not in an ExceptionGroup."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _until_interrupted(work: Callable[[], Awaitable[T]]) -> T:
    async with task_group() as group:
        group.start_soon(_cancel_on_interrupt, group.cancel_scope)
        result = await work()
        group.cancel_scope.cancel()
        return result
    raise KeyboardInterrupt


async def _cancel_on_interrupt(scope: anyio.CancelScope) -> None:
    """Cancel in the way that shielded calls can defer, which the loop's own way does not."""
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
