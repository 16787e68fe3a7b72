"""uvicorn, on asyncio: told to stop by us, and impatient with those who send no whole request."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from anyio import create_task_group
from uvicorn.protocols.http.h11_impl import H11Protocol

from allocation.entrypoints.running import StopSignal
from allocation.entrypoints.web.requests import Requests
from allocation.entrypoints.web.settings import HEAD_BYTES, WebSettings


async def answer(
    requests: Requests,
    listener: socket.socket,
    settings: WebSettings,
    grace: float,
    stop: StopSignal,
) -> None:
    """Answer requests until told to stop, and then those that were begun."""
    config = uvicorn.Config(
        requests,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(settings.http_seconds) or 1,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    server = Server(config)

    async def stop_it() -> None:
        await stop.wait()
        server.should_exit = True

    async with create_task_group() as group:
        group.start_soon(stop_it)
        await server.serve([listener])
        group.cancel_scope.cancel()


class Server(uvicorn.Server):
    """Leaves signals to those who listen for them already."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


class ImpatientProtocol(H11Protocol):
    """Hangs up on who takes too long to send the head of a request.

    uvicorn itself waits for ever for the first one, and for the rest of one that has begun.
    """

    _timer: Any = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Wait on, or no more if the head is whole."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next one."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._stop_timer()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
