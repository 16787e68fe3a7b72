"""anycorn, on Trio: see docs/decisions/0014 for why it."""

import logging
import socket
from typing import Any

import anycorn
from anycorn.config import Sockets

from allocation.entrypoints.running import StopSignal
from allocation.entrypoints.web.requests import Requests
from allocation.entrypoints.web.settings import HEAD_BYTES, WebSettings

MARGIN_SECONDS = 60.0  # it should not end by itself what ends with the process's grace period


async def answer(
    requests: Requests,
    listener: socket.socket,
    settings: WebSettings,
    grace: float,
    stop: StopSignal,
) -> None:
    """Answer requests until told to stop, and then those that were begun."""
    config = _Config(listener, settings, grace)
    app: Any = requests  # anycorn and Starlette have types of their own for ASGI
    await anycorn.serve(app, config, shutdown_trigger=stop.wait, mode="asgi")


class _Config(anycorn.Config):
    """What we want of it, and the socket that listens already."""

    def __init__(self, listener: socket.socket, settings: WebSettings, grace: float) -> None:
        super().__init__()
        self._listener = listener
        self.errorlog = logging.getLogger("anycorn.error")
        self.graceful_timeout = grace + MARGIN_SECONDS
        self.h11_max_incomplete_size = HEAD_BYTES
        self.h2_max_concurrent_streams = 1  # HTTP/2 is not wanted, and cannot be switched off
        self.h2_max_header_list_size = HEAD_BYTES
        self.include_server_header = False
        self.keep_alive_timeout = int(settings.http_seconds) or 1

    def create_sockets(self) -> Sockets:
        """Return it."""
        return Sockets([], [self._listener.dup()], [])
