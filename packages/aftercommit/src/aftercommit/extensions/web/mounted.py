"""What is mounted in an application of others, whose guard decides who may ask.

It knows no prefix, gets no lifespan, and answers with the headers and problems of the HTTP server.
"""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any, Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercommit.errors import WiringError
from aftercommit.extensions.opened_outbox import OpenedHere, OpenedOutbox
from aftercommit.extensions.web.browser_sessions import is_from_own_page
from aftercommit.extensions.web.dispatch_after_response import SECURITY
from aftercommit.extensions.web.problems import HEADERS, MEDIA_TYPE
from aftercommit.process.app import App

SAFE = ("GET", "HEAD")
OF_ALL = {**SECURITY, "Cache-Control": "no-store"}  # headers

NOBODY = "The guard has not returned the name of who is asking."
FOREIGN = "This request has not come from here: its Origin is not its Host."
CLOSED = "This process is not inside running() of the outbox."

Guard = Callable[[Request], Awaitable[str]]

logger = logging.getLogger(__name__)


async def nobody(request: Request) -> str:
    """Let nobody in: what is mounted without a guard has this one."""
    return ""


class Mounted(ABC):
    """An ASGI application for Starlette, Litestar and others.

    `guard` returns who is asking, or raises what the application around it answers. Also for those
    that it lets in, a request that changes something has to come from a page of the same host.

    :raises WiringError: if the guard is not made with `async def`
    """

    def __init__(self, app: App[Any], opened: OpenedHere, guard: Guard | None = None) -> None:
        guard = guard or nobody
        self.app, self._opened, self._guard = app, opened, guard
        if not any(map(iscoroutinefunction, (guard, type(guard).__call__))):
            raise WiringError("make the guard with `async def`. It is", repr(guard))

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: a `Router` of Litestar copies what is in it, and there is one outbox."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            who = await self._guard(request)
            await self.answer(request, who, path_below_mount(scope), send)

    async def answer(self, request: Request, who: object, path: str, send: Send) -> None:
        """Answer a request of somebody, for a path below its own."""
        opened = self._opened.find()
        if not (isinstance(who, str) and who):
            kind = type(who).__qualname__  # a user may have a password in it
            logger.warning("the guard of what is mounted has returned no name, but a %s", kind)
            answering: ASGIApp = problem(403, NOBODY)
        elif not (self.is_for_links(request, path) or is_from_own_page(request)):
            answering = problem(403, FOREIGN)
        elif opened is None:
            answering = problem(503, CLOSED)
        else:
            answering = self.answering(opened, request, who, path)
        scope = {**request.scope, "path": path, "root_path": ""}
        await answering(scope, _from_the_beginning(request), send)

    def is_for_links(self, request: Request, path: str) -> bool:
        """Tell whether a link on a page of another site may lead to this path."""
        return False

    @abstractmethod
    def answering(self, opened: OpenedOutbox, request: Request, who: str, path: str) -> ASGIApp:
        """Return what answers somebody who is let in, while the outbox runs."""


def path_below_mount(scope: Scope) -> str:
    """Return the path without the prefix of the mount, in whichever way a framework passes it on.

    Starlette leaves the path as it is, and appends the prefix to `root_path`. There, a proxy may
    have removed another prefix, which the path then does not have. Litestar shortens the path, and
    appends a slash to it.
    """
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    own = root.removeprefix(scope.get("app_root_path", ""))
    for prefix in (root, own):
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            return path.removeprefix(prefix) or "/"
    asked = scope.get("raw_path") or b"/"
    return path if asked.partition(b"?")[0].endswith(b"/") else path.rstrip("/") or "/"


def problem(status: int, detail: str) -> Response:
    """Return an error as a problem of RFC 9457."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    headers = {**OF_ALL, **HEADERS.get(status, {})}
    return Response(json.dumps({**content, "detail": detail}), status, headers, MEDIA_TYPE)


def _from_the_beginning(request: Request) -> Receive:
    """Return how to receive the body, even if a guard has read it."""
    chunks = request.stream()

    async def receive() -> Message:
        async for chunk in chunks:
            return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}
        return await request.receive()

    return receive
