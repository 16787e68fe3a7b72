"""Answers GET /metrics, /healthz and /readyz while services run, if it is said on which port."""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio.abc import Listener, SocketStream, TaskGroup

from allocation.adapters.database import Database
from allocation.adapters.metrics.readings import oldest_due_seconds, read, schema_is_outdated
from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.domain.exceptions import InvalidValue, Unavailable
from allocation.entrypoints.metrics.glance import PATIENCE_SECONDS, Glance
from allocation.entrypoints.metrics.http import HttpServer, Response
from allocation.entrypoints.metrics.settings import MetricsSettings
from allocation.entrypoints.running import StopSignal, task_group

NOT_FOUND = Response("404 Not Found", b"there are /metrics, /healthz and /readyz\n")

logger = logging.getLogger(__name__)


class AddressUnavailable(Unavailable):
    """Metrics cannot be answered there: another process has the port, or the host is not ours."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"metrics cannot be answered on {address}: {reason}")


@asynccontextmanager
async def answering(
    settings: Settings, application: Application, stop: StopSignal
) -> AsyncIterator[None]:
    """Answer for as long as the context lasts; without a port, do nothing.

    :raises AddressUnavailable: if nobody can listen there
    :raises InvalidValue: if prometheus-client is not installed
    """
    address = settings.of(MetricsSettings)
    if address.metrics_port is None:
        yield
        return
    async with (
        await _listener(address.metrics_host, address.metrics_port) as listener,
        task_group() as group,
    ):
        server = HttpServer(Probes(address, application, stop, group).answer)
        group.start_soon(server.serve, listener)
        logger.info("metrics are on http://%s:%d", address.metrics_host, address.metrics_port)
        yield
        group.cancel_scope.cancel()


class Probes:
    """What is told of this process, whether on a port of its own or with other things."""

    def __init__(
        self,
        settings: MetricsSettings,
        application: Application,
        stop: StopSignal,
        group: TaskGroup,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        try:
            # now, and not when somebody asks: that takes a tenth of a second
            from allocation.entrypoints.metrics.exposition import CONTENT_TYPE, metrics_text
        except ModuleNotFoundError as error:
            problem = f"needs {error.name}; install allocation[metrics]"
            raise InvalidValue("ALLOCATION_METRICS_PORT", problem) from None
        self.stop = stop
        self._content_type = CONTENT_TYPE
        asked = application.database, application.handlers
        glance = partial(Glance, group, patience=patience)
        self.metrics = partial(metrics_text, application, glance(partial(read, *asked)))
        self._hindrance = glance(partial(_hindrance, *asked, settings.ready_overdue_seconds))

    async def answer(self, path: str) -> Response:
        """Return the page."""
        match path:
            case "/metrics":
                return Response("200 OK", await self.metrics(), self._content_type)
            case "/healthz":
                return Response("200 OK", b"alive\n")
            case "/readyz":
                problem = await self.problem()
                status = "503 Service Unavailable" if problem else "200 OK"
                return Response(status, f"{problem or 'ready'}\n".encode())
        return NOT_FOUND

    async def problem(self) -> str | None:
        """Say why nothing should be given to this process now; None if it is ready."""
        if self.stop.is_set:
            return "draining"
        try:
            return await self._hindrance()
        except TimeoutError:
            return "the database does not answer"
        except Exception:  # whoever asks need not be told more
            return "the database cannot be used"


async def _hindrance(database: Database, handlers: Collection[str], overdue: float) -> str | None:
    """Say what the database has against it, if it has."""
    if await schema_is_outdated(database):
        return "the database schema is outdated"
    late = await oldest_due_seconds(database, handlers)
    return f"work is overdue for {late:.0f} s: does a worker run?" if late > overdue else None


async def _listener(host: str, port: int) -> Listener[SocketStream]:
    try:
        return await anyio.create_tcp_listener(local_host=host, local_port=port)
    except OSError as error:
        raise AddressUnavailable(f"{host}:{port}", str(error)) from error
