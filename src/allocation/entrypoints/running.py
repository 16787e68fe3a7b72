"""Runs asynchronous work from a synchronous command: to its end, or until it is told to stop."""

import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Any, TypeVar

import anyio
from anyio import CancelScope, move_on_after
from anyio.abc import TaskGroup

from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain.exceptions import InvalidValue
from allocation.entrypoints.output import say
from allocation.entrypoints.story import Story
from allocation.rooms import BESIDE_ALL, HEARING

logger = logging.getLogger(__name__)

T = TypeVar("T")


class StopSignal:
    """When those who work sleep, wake and stop. A call that comes while they work is remembered."""

    def __init__(self) -> None:
        self._over = anyio.Event()
        self._called = anyio.Event()

    @property
    def is_set(self) -> bool:
        """Whether nothing more may be begun."""
        return self._over.is_set()

    def wake(self) -> None:
        """End the present or the next sleep."""
        self._called.set()

    def set(self) -> None:
        """Let nothing more be begun."""
        self._over.set()
        self.wake()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds, or when called. Only one task may sleep."""
        with move_on_after(seconds):
            await self._called.wait()
        self._called = anyio.Event()

    async def wait(self) -> None:
        """Return when it is set."""
        await self._over.wait()


Service = Callable[[Application, StopSignal], Coroutine[Any, Any, None]]


def with_application(
    settings: Settings,
    work: Callable[[Application], Awaitable[T]],
    *,
    tell_story: bool = True,
    delivers: bool = False,
) -> T:
    """Run `work` with an application, which tells its story on stdout unless told not to."""
    observers = [Story(say, settings.mail_folder)] if tell_story else []

    async def main() -> T:
        async with bootstrap(settings, observers=observers, delivers=delivers) as application:
            return await work(application)

    return run(main, backend=settings.backend)


def serve(settings: Settings, *services: Service, delivers: bool = True) -> None:
    """Run the services until they end, or until SIGTERM or SIGINT. They tell their story.

    On the first signal nothing more is begun, and what is in hand has the grace period to finish;
    the rest is given back. The room "console" ends what then still hangs; leases end by themselves.

    :raises Unavailable: if the database cannot be used at start; later the services wait for it
    """

    async def main() -> None:
        if delivers and settings.mail_folder:
            logger.warning("e-mails are not sent, but kept in %s", settings.mail_folder)
        stop, story = StopSignal(), Story(say, settings.mail_folder)
        grace = settings.grace_seconds

        def end() -> None:
            logger.info("stopping; work in hand has %g s to finish", grace)
            stop.set()
            body.deadline = anyio.current_time() + grace

        with CancelScope() as body:
            async with (
                resolve_name(HEARING)(end, signal.SIGTERM, signal.SIGINT, grace=grace),
                bootstrap(settings, observers=[story], delivers=delivers) as application,
                AsyncExitStack() as opened,
            ):
                for place in map(resolve_name, BESIDE_ALL):
                    await opened.enter_async_context(place(settings, application, stop))
                async with task_group() as group:
                    for service in services:
                        group.start_soon(service, application, stop)

    _run_to_end(main, backend=settings.backend)


def run(work: Callable[[], Awaitable[T]], *, backend: str) -> T:
    """Run `work` on an event loop and return its result.

    :raises InvalidValue: if the event loop is not there
    :raises KeyboardInterrupt: after SIGINT, when the cancelled work has left everything tidy
    """

    async def until_interrupted() -> T:
        # Ctrl-C, even a second one, waits for shielded calls here; the loop's own way breaks in
        try:
            with CancelScope() as scope:
                async with resolve_name(HEARING)(scope.cancel, signal.SIGINT):
                    return await work()
        except Exception:
            if not scope.cancel_called:  # otherwise it failed because of that
                raise
        raise KeyboardInterrupt

    return _run_to_end(until_interrupted, backend=backend)


@asynccontextmanager
async def hearing(
    act: Callable[[], object], *numbers: signal.Signals, grace: float | None = None
) -> AsyncIterator[None]:
    """Call `act` at each of these signals, as long as the event loop runs; a room does more."""

    async def listen() -> None:
        # Windows has no such thing; there, Ctrl-C ends the event loop in the loop's own way
        with suppress(NotImplementedError), anyio.open_signal_receiver(*numbers) as signals:
            async for _ in signals:
                act()

    async with task_group() as group:
        group.start_soon(listen)
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """Open a task group that raises the first error as it is, not in an ExceptionGroup."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _run_to_end(main: Callable[[], Awaitable[T]], *, backend: str) -> T:
    if find_spec(backend) is None:
        raise InvalidValue("backend", f"{backend} is not installed; install allocation[{backend}]")
    try:
        return anyio.run(main, backend=backend)
    except SystemExit as error:  # asyncio lets it end the event loop at once
        raise RuntimeError("a task has called sys.exit, and so ended the event loop") from error
