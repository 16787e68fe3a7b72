"""Runs a worker, and what runs beside it, in a process of the application: see `Outbox.running`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from os import getpid

import anyio
from anyio import current_time, get_cancelled_exc_class

from aftercommit.extensions.opened_outbox import OpenedHere, OpenedOutbox
from aftercommit.handler_containment import contain, first_error, in_own_task
from aftercommit.outbox.handler_thread import soon_in_this_loop
from aftercommit.outbox.outbox_app import OutboxApp
from aftercommit.outbox.workers_here import WorkersHere
from aftercommit.process.application import Application
from aftercommit.process.running_services import Service, Shutdown
from aftercommit.process.worker import WORKER_SETTINGS, Worker


@asynccontextmanager
async def running_here(
    app: OutboxApp, workers: WorkersHere, opened_here: OpenedHere
) -> AsyncIterator[None]:
    """Run a worker and the services of extensions as long as the context is open.

    Meanwhile, commits wake the worker, and what is mounted in the application finds what was
    opened.
    """
    settings = app.load({**WORKER_SETTINGS, **opened_here.settings})
    grace, slots = settings.shutdown_grace_seconds, settings.worker_concurrency
    error: BaseException | None = None
    async with app.open(settings) as application:
        await application.database.check_sessions()
        worker = Worker(application, shutdown := Shutdown(), concurrency=slots)

        def wake(stale_lanes: bool) -> None:
            if stale_lanes:
                worker.unblock_lanes()
            worker.wake()
            application.database.backend.notify_workers()

        soon = soon_in_this_loop()
        waking = getpid(), lambda is_stale: soon(partial(wake, is_stale))
        try:
            async with anyio.create_task_group() as group:
                for service in app.parts.services(settings):
                    group.start_soon(in_own_task, _run, service, application, shutdown)
                group.start_soon(in_own_task, worker.run)
                opened = OpenedOutbox(application, settings, shutdown, group, partial(wake, False))
                workers.wakers.add(waking)
                try:
                    with opened_here.adding(opened):
                        yield
                except get_cancelled_exc_class():
                    raise
                except BaseException as raised:  # raised as it is, not in a group
                    error = raised
                finally:
                    workers.wakers.discard(waking)
                    shutdown.set()
                    group.cancel_scope.deadline = current_time() + grace
        except BaseExceptionGroup as errors:
            raise first_error(errors)  # noqa: B904 - it has a cause of its own
    if error is not None:
        raise error


async def _run(service: Service, application: Application, stop: Shutdown) -> None:
    """Run a service. Who cancels its task gets an error, as with the worker's own.

    Otherwise, the body would end as if it had come to its end.
    """
    try:
        await service(application, stop)
    except BaseException as error:
        contain(error, "the worker")
        raise
