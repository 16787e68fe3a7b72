"""The HTTP server, one of the services: listens, and answers until it is asked to stop.

It is uvicorn, changed only by settings; a reverse proxy does the rest. Decision 14 says why
it is this server, and docs/deploy/nginx what the proxy does.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from math import inf
from time import monotonic

import click
import uvicorn
from anyio import create_task_group, sleep
from fastapi import FastAPI
from starlette.types import ASGIApp

from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.metrics.process_health import probing
from aftercommit.extensions.web.dispatch_after_response import DispatchAfterResponse
from aftercommit.extensions.web.exceptions import CannotListen
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.process.application import Application
from aftercommit.process.running_services import Service, Shutdown
from aftercommit.settings import EngineSettings

HEAD_BYTES = 16384  # for a request that has not arrived completely
BACKLOG = 64  # connections to accept together: so often asyncio tries without a file descriptor
TRACEBACKS = {
    "socket.accept() out of system resource": "no new connections until others are closed: %s",
    "Fatal error: protocol.data_received() call failed": "a request could not be refused: %s",
}
"""What any client can make asyncio log, with a traceback each time, and what is logged instead."""
REPEATED_SECONDS = 60.0  # between two such warnings
TICK_SECONDS = 0.1  # between uvicorn's checks whether it has to stop, and can

logger = logging.getLogger(__name__)

Announce = Callable[[FastAPI, str, str | None], None]  # the URL and, if created here, the token


def announce(app: FastAPI, url: str, token: str | None) -> None:
    """Print where the server listens and, if it was created here, the token."""
    secret = f"; operator's token, valid until this process exits: {token}" if token else ""
    click.echo(f"[Web]            listening on {url}; API documentation at /docs{secret}")
    code = f"#code={app.state.sessions.new_code()} lets one browser in" if token else ""
    click.echo(f"[Page]           {url}/{code}")


def web_service(
    settings: EngineSettings, app: FastAPI, *, announce: Announce = announce
) -> Service:
    """Return the service of `web_application`, or of another one like it.

    It announces where it listens and, if it has created one, the token.

    When it is asked to stop, it is no longer ready, accepts no new connections, closes idle ones,
    and ends when all requests, and everything they have caused, are done.

    :raises InvalidValue: if the event loop is not asyncio
    :raises CannotListen: if the address is taken, or is not this machine's
    """
    if settings.event_loop != "asyncio":
        problem = f"is {settings.event_loop}, but HTTP is served on asyncio only"
        raise settings.refused("event_loop", problem)
    web_settings = settings.of(WebSettings)

    async def service(application: Application, stop: Shutdown) -> None:
        with closing(open_listener(web_settings)) as listener:
            made_here = None if web_settings.operator_token else app.state.operator_token
            announce(app, _url(listener), made_here)
            app.state.application = application
            dispatch = BoundedDispatch(application.bus, settings.max_dispatches)
            async with (
                probing(settings, application, stop) as app.state.probes,
                create_task_group() as group,
            ):
                answering = DispatchAfterResponse(app, group, dispatch)
                await _serve(answering, listener, web_settings, stop)

    return service


def open_listener(settings: WebSettings) -> socket.socket:
    """Return a listening socket.

    :raises CannotListen: if that is not possible
    """
    host, port = settings.http_host, settings.http_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise CannotListen(host, port, error) from error
    # accepted connections inherit it; otherwise, a body waits 40 ms for the confirmation of its
    # head
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _serve(
    app: ASGIApp, listener: socket.socket, settings: WebSettings, stop: Shutdown
) -> None:
    config = uvicorn.Config(
        app,
        http="h11",  # the other parser does not limit the head
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # clients could fill the log with warnings of malformed requests
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(settings.http_timeout_seconds) or 1,
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=BACKLOG,
    )
    server = uvicorn.Server(config)
    # the runtime already listens for signals
    server.capture_signals = nullcontext  # type: ignore[assignment, method-assign]

    async def exit_on_stop() -> None:
        await stop.wait()
        server.should_exit = True
        while True:  # uvicorn does it once; a connection that is just being accepted would delay it
            await sleep(TICK_SECONDS)
            for connection in server.server_state.connections.copy():
                connection.shutdown()

    async with create_task_group() as group:
        group.start_soon(exit_on_stop)
        with without_tracebacks_that_clients_cause():
            await server.serve([listener])
        group.cancel_scope.cancel()


@contextmanager
def without_tracebacks_that_clients_cause() -> Iterator[None]:
    """Log a warning now and then when clients cause errors in asyncio or in uvicorn's parser.

    asyncio would log a traceback each time, so clients could fill a disk: with connections, or with
    a broken chunk after the head of a HEAD, which uvicorn, against HTTP, answers with a body.
    """
    of_asyncio, warned_at = logging.getLogger("asyncio"), dict.fromkeys(TRACEBACKS, -inf)

    def is_other(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        found = next((each for each in TRACEBACKS if message.startswith(each)), None)
        if found and monotonic() - warned_at[found] > REPEATED_SECONDS:
            warned_at[found] = monotonic()
            logger.warning(TRACEBACKS[found], record.exc_info and record.exc_info[1])
        return found is None

    of_asyncio.addFilter(is_other)
    try:
        yield
    finally:
        of_asyncio.removeFilter(is_other)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
