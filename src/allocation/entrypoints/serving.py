"""Runs what works until it is told to stop: worker, consumer, or both in one process."""

import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
from anyio import CancelScope, move_on_after

from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.entrypoints.output import say
from allocation.entrypoints.running import run_to_end, task_group
from allocation.entrypoints.signals import hearing
from allocation.entrypoints.story import Story

logger = logging.getLogger(__name__)


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

    @asynccontextmanager
    async def until_set(self) -> AsyncIterator[None]:
        """Cancel the body when it is set."""

        async def cancel_at_end(scope: CancelScope) -> None:
            await self._over.wait()
            scope.cancel()

        async with task_group() as group:
            group.start_soon(cancel_at_end, group.cancel_scope)
            yield
            group.cancel_scope.cancel()

    async def wait(self, seconds: float) -> None:
        """Return when it is set, or after so many seconds."""
        with move_on_after(seconds):
            await self._over.wait()


Service = Callable[[Application, StopSignal], Coroutine[Any, Any, None]]


def serve(settings: Settings, *services: Service, delivers: bool = True) -> None:
    """Run the services until they end, or until SIGTERM or SIGINT. They tell their story.

    On the first signal nothing more is begun, and what is in hand has the grace period to finish;
    the rest is given back. A second signal ends the process at once, and so does what still hangs
    after the grace period; leases then end by themselves.

    :raises Unavailable: if the database cannot be used at start; later the services wait for it
    """

    async def main() -> None:
        if delivers and settings.mail_folder:
            logger.warning("e-mails are not sent, but kept in %s", settings.mail_folder)
        stop, story = StopSignal(), Story(say, settings.mail_folder)
        with _ended_by_signals(stop, settings.grace_seconds):
            async with (
                bootstrap(settings, observers=[story], delivers=delivers) as application,
                task_group() as group,
            ):
                for service in services:
                    group.start_soon(service, application, stop)

    run_to_end(main, backend=settings.backend)


@contextmanager
def _ended_by_signals(stop: StopSignal, grace: float) -> Iterator[None]:
    """Set it at the first signal of the system, and cancel the body `grace` seconds later."""

    def end() -> None:
        logger.info("stopping; work in hand has %g s to finish", grace)
        stop.set()
        body.deadline = anyio.current_time() + grace

    with CancelScope() as body, hearing(end, signal.SIGTERM, signal.SIGINT, grace=grace):
        yield
