"""Answers GET /metrics, /healthz and /readyz on its own port, with the standard library's server.

Its threads answer even while the event loop is blocked, and report that. It is meant for a scraper
and for probes: a connection is closed when several newer ones have arrived.
"""

import logging
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from anyio import to_thread

from aftercommit.errors import Unavailable
from aftercommit.extensions.metrics.process_health import CONTENT_TYPE, Probes, probing
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.process.application import Application
from aftercommit.process.running_services import Shutdown
from aftercommit.settings import EngineSettings

MAX_CONNECTIONS = 20
SILENCE_SECONDS = 10.0
RELISTEN_SECONDS = 1.0
MAX_HEAD_BYTES = 16_384  # of all header lines together, which the standard library keeps
NOT_FOUND = b"there are /metrics, /healthz and /readyz\n"

logger = logging.getLogger(__name__)


class AddressUnavailable(Unavailable):
    """Metrics cannot be served there: the port is taken, or the host is not this machine's."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"metrics cannot be served on {address}: {reason}")


@asynccontextmanager
async def serving_metrics(
    settings: EngineSettings, application: Application, stop: Shutdown
) -> AsyncIterator[None]:
    """Serve on the port in the settings as long as the context lasts.

    :raises AddressUnavailable: if nobody can listen there
    """
    wanted = settings.of(MetricsSettings)
    async with probing(settings, application, stop) as probes:
        with MetricsServer(wanted.metrics_host, wanted.metrics_port or 0, probes) as server:
            Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
            logger.info("metrics are on http://%s:%d", wanted.metrics_host, wanted.metrics_port)
            yield
            await to_thread.run_sync(server.shutdown)


class MetricsServer(ThreadingHTTPServer):
    """The server: one thread for each connection, a few at the same time."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 5 * MAX_CONNECTIONS  # or with many clients, some would wait for seconds

    def __init__(self, host: str, port: int, probes: Probes) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.probes = probes
        self._newest: deque[socket.socket] = deque()  # some may be closed by now
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise AddressUnavailable(f"{host}:{port}", str(error)) from error

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; if too many files are open, wait a moment."""
        try:
            return super().get_request()
        except OSError as error:
            logger.warning("cannot accept connections for a moment: %s", error)
            time.sleep(RELISTEN_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; close the oldest connection when several have followed."""
        if len(self._newest) == MAX_CONNECTIONS:
            with suppress(OSError):
                self._newest.popleft().shutdown(socket.SHUT_RDWR)
        self._newest.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have disconnected."""


class _Head:
    """The header lines of a request, with a limit for all of them together."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._left = stream, MAX_HEAD_BYTES
        self.close = stream.close

    def readline(self, limit: int) -> bytes:
        """Read a line.

        :raises LineTooLong: if they have more than MAX_HEAD_BYTES; the answer is 431
        """
        line: bytes = self._stream.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("head")
        return line


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENCE_SECONDS
    server: MetricsServer

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Head(self.rfile)

    def do_GET(self) -> None:
        status, body = self._answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the standard library's name

    def _answer(self, path: str) -> tuple[int, bytes]:
        probes = self.server.probes
        match path:
            case "/metrics":
                return 200, probes.metrics()
            case "/healthz":
                good, error = b"alive\n", probes.liveness_error()
            case "/readyz":
                good, error = b"ready\n", probes.readiness_error()
            case _:
                return 404, NOT_FOUND
        return (503, f"{error}\n".encode()) if error else (200, good)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: probes arrive every second."""
