"""Runs asynchronous work from a synchronous command, until it ends or somebody interrupts it."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from allocation.domain.exceptions import InvalidValue
from allocation.entrypoints.signals import hearing

T = TypeVar("T")


def _check_backend(backend: str) -> None:
    """Refuse an event loop that is not there.

    :raises InvalidValue: if its package is not installed
    """
    if find_spec(backend) is None:
        raise InvalidValue("backend", f"{backend} is not installed; install allocation[{backend}]")


def run(work: Callable[[], Awaitable[T]], *, backend: str) -> T:
    """Run `work` on an event loop and return its result.

    :raises InvalidValue: if the event loop is not there
    :raises KeyboardInterrupt: after SIGINT, when the cancelled work has left everything tidy
    """
    return run_to_end(partial(_until_interrupted, work), backend=backend)


def run_to_end(main: Callable[[], Awaitable[T]], *, backend: str) -> T:
    """Run `main` on an event loop and return its result.

    :raises InvalidValue: if the event loop is not there
    :raises RuntimeError: if a task calls `sys.exit`, which asyncio lets end the event loop at once
    """
    _check_backend(backend)
    try:
        return anyio.run(main, backend=backend)
    except SystemExit as error:
        raise RuntimeError("a task has called sys.exit, and so ended the event loop") from error


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """Open a task group that raises the first error as it is, not in an ExceptionGroup."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _until_interrupted(work: Callable[[], Awaitable[T]]) -> T:
    # in the way that shielded calls can defer, which the loop's own way does not; and signals are
    # heard until all is tidy: a second Ctrl-C must not break in on that
    try:
        with anyio.CancelScope() as scope, hearing(scope.cancel, signal.SIGINT):
            return await work()
    except Exception:
        if not scope.cancel_called:  # otherwise it failed because of that
            raise
    raise KeyboardInterrupt
