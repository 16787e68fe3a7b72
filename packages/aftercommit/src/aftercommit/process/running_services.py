"""Runs asynchronous work from a synchronous command, to its end or until asked to stop."""

import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib.util import find_spec
from typing import Any, TypeVar

import anyio
from anyio import CancelScope, move_on_after

from aftercommit.errors import InvalidValue, install_hint
from aftercommit.handler_containment import first_error, in_own_task
from aftercommit.process.application import Application
from aftercommit.process.signals import stop_signals

logger = logging.getLogger(__name__)

T = TypeVar("T")

Shutdown = anyio.Event
"""Set when services have to stop: they begin nothing new, and finish what is running."""


class Wakeup:
    """A sleep that others can end. A call while nobody sleeps ends the next sleep."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def wake(self) -> None:
        """End the current or the next sleep."""
        self._event.set()

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds, or when woken. Only one task may sleep."""
        with move_on_after(seconds):
            await self._event.wait()
        self._event = anyio.Event()


Service = Callable[[Application, Shutdown], Coroutine[Any, Any, None]]


def run_services(
    opening: AbstractAsyncContextManager[Application],
    services: Sequence[Service],
    lifespans: Sequence[Callable[[Application, Shutdown], AbstractAsyncContextManager[None]]],
    *,
    name: str,
    grace: float,
    event_loop: str,
) -> None:
    """Run the services until they end, or until SIGTERM or SIGINT.

    After the first signal nothing new begins, and running handlers have `grace` seconds to finish;
    the rest is released. What still hangs then is ended; leases expire by themselves.

    :raises Unavailable: if the database cannot be used at start; later, the services wait for it
    """

    async def main() -> None:
        shutdown = Shutdown()

        def stop() -> None:
            logger.info("stopping; running handlers have %g s to finish", grace)
            shutdown.set()
            body.deadline = anyio.current_time() + grace

        stopping = stop_signals(stop, signal.SIGTERM, signal.SIGINT, name=name, grace=grace)
        with CancelScope() as body, stopping:
            async with opening as application, AsyncExitStack() as opened:
                await application.database.check_sessions()
                for lifespan in lifespans:
                    await opened.enter_async_context(lifespan(application, shutdown))
                async with anyio.create_task_group() as group:
                    for service in services:
                        group.start_soon(in_own_task, service, application, shutdown)

    run(main, event_loop=event_loop)


def run(work: Callable[[], Awaitable[T]], *, event_loop: str) -> T:
    """Run `work` on an event loop, return its result, or raise the first error of a group.

    Ctrl-C, even a second one, waits for shielded calls, which the event loop's own way would break.

    :raises KeyboardInterrupt: after SIGINT, when the cancelled work has cleaned up
    """
    if find_spec(event_loop) is None:
        problem = f"is {event_loop}, which is not installed; {install_hint(event_loop)}"
        raise InvalidValue("event loop", problem)

    async def main() -> T:
        scope = CancelScope()
        try:
            with scope, stop_signals(scope.cancel, signal.SIGINT):
                return await work()
        except Exception as error:
            if not scope.cancel_called:  # otherwise, it failed because of that
                first = first_error(error)
                raise first from (first.__cause__ or first.__context__)
        raise KeyboardInterrupt

    try:
        return anyio.run(main, backend=event_loop)
    except SystemExit as error:  # it ends asyncio at once
        raise RuntimeError("a task has called sys.exit, and so ended the event loop") from error
