"""The HTTP server, a service beside others: listens, and answers until it is told to stop."""

import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from pkgutil import resolve_name

from fastapi import FastAPI

from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.entrypoints.metrics.serving import Probes
from allocation.entrypoints.metrics.settings import MetricsSettings
from allocation.entrypoints.output import say
from allocation.entrypoints.running import Service, StopSignal, task_group
from allocation.entrypoints.web.application import connect, web_application
from allocation.entrypoints.web.exceptions import CannotListen
from allocation.entrypoints.web.requests import Requests
from allocation.entrypoints.web.settings import WebSettings
from allocation.rooms import ROOMS

BACKLOG = 512
SERVERS = {
    "asyncio": "allocation.entrypoints.web.on_asyncio:answer",
    "trio": "allocation.entrypoints.web.on_trio:answer",
}


Tell = Callable[[str, str | None], None]  # the URL and, if it was made here, the token


def tell(url: str, token: str | None) -> None:
    """Say where it listens."""
    page = f"{url}/" if any(room.open_routes for room in ROOMS.values()) else ""
    secret = f"{page and page + '?token='}{token}"
    rest = f"; the operator's token, until it ends: {secret}" if token else page and f" and {page}"
    say(f"[Web]            serving {url}/docs{rest}")


def serving(settings: Settings, app: FastAPI | None = None, *, tell: Tell = tell) -> Service:
    """Return the service, of `web_application` or another one like it.

    It tells where it listens and, if it has made one, the token.

    When it is told to stop, it is not ready any more, takes no new connections, closes those that
    are idle, and ends when all requests and what they have caused are done.

    :raises CannotListen: if the address is not free, or not of this machine
    """
    of_web = settings.of(WebSettings)
    app = app or web_application(of_web)
    token = of_web.operator_token or secrets.token_urlsafe(24)
    answer = resolve_name(SERVERS[settings.backend])

    async def serve(application: Application, stop: StopSignal) -> None:
        with closing(listening(of_web)) as listener:
            tell(_url(listener), None if of_web.operator_token else token)
            async with task_group() as group:
                connect(
                    app,
                    application,
                    Probes(settings.of(MetricsSettings), application, stop, group),
                    token,
                )
                requests = Requests(app, group, application.bus, trees=settings.concurrency)
                await answer(requests, listener, of_web, settings.grace_seconds, stop)

    return serve


def listening(settings: WebSettings) -> socket.socket:
    """Return a socket that listens.

    Whoever takes what is sent slower than in `http_seconds`, or not at all, is cut off by the
    kernel: a server waits for ever, even at its end.

    :raises CannotListen: if that is not possible
    """
    host, port = settings.http_host, settings.http_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(host, port, error) from error
    # those who are accepted inherit these
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a body waits 40 ms
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        patience = int(settings.http_seconds * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
    listener.setblocking(False)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
