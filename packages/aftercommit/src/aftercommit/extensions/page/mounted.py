"""The page within an application of others, whose guard decides who may see it.

It has the endpoints of the page and of the extension operations, and answers as the HTTP server of
the extension web does: with the same headers, limits and problems. It knows no prefix: all
addresses in the page are relative to its own.
"""

import json
import logging
import mimetypes
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.opened_outbox import OpenedHere, OpenedOutbox
from aftercommit.extensions.operations.decisions import LONGEST
from aftercommit.extensions.page.routes import ASSETS, data, shell
from aftercommit.extensions.web.application import ANSWERED
from aftercommit.extensions.web.body_limit import BodyLimit
from aftercommit.extensions.web.browser_sessions import is_from_own_page
from aftercommit.extensions.web.dispatch_after_response import (
    MOUNTED,
    SECURITY,
    DispatchAfterResponse,
)
from aftercommit.extensions.web.idempotent_execution import receive
from aftercommit.extensions.web.problems import HEADERS, MEDIA_TYPE, KindsAnswered, answer_error
from aftercommit.process.app import App

MAX_BODY_BYTES = 65536
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]

NOBODY = "The guard of this page has not returned the name of who is asking."
FOREIGN = "This request has not come from the page itself: its Origin is not its Host."
CLOSED = "This process is not inside running() of the outbox."

logger = logging.getLogger(__name__)


async def nobody(request: Request) -> str:
    """Let nobody in: what is mounted without a guard has this one."""
    return ""


class MountedPage:
    """The page as an ASGI application, for Starlette, Litestar and others.

    `guard` returns who is asking, or raises what the application around it answers. Even for them,
    a request that changes something has to come from the page itself.
    """

    def __init__(
        self,
        app: App[Any],
        opened: OpenedHere,
        guard: Callable[[Request], Awaitable[str]] = nobody,
    ) -> None:
        self._app, self._opened, self._guard = app, opened, guard
        if not mimetypes.inited:
            mimetypes.init()  # it reads files, for which no request should wait

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            who = await self._guard(request)
            await self.answer(request, who, _path_below_mount(scope), send)

    async def answer(self, request: Request, who: object, path: str, send: Send) -> None:
        """Answer a request of somebody, for a path below the page's own."""
        answering = self._refusal(request, who, path) or self._answering(request, path)
        state = {"operator": str(who)[: LONGEST["by"]]}
        scope = {**request.scope, "path": path, "root_path": "", MOUNTED: state}
        await answering(scope, _from_the_beginning(request), send)

    def _refusal(self, request: Request, who: object, path: str) -> Response | None:
        if not (isinstance(who, str) and who):
            logger.warning("the guard of the outbox's page has returned %r, and no name", who)
            return _problem(403, NOBODY)
        is_opened = path == "/" and request.method in ("GET", "HEAD")  # perhaps by a link elsewhere
        return None if is_opened or is_from_own_page(request) else _problem(403, FOREIGN)

    def _answering(self, request: Request, path: str) -> ASGIApp:
        opened = self._opened.find()
        if opened is None:
            return _problem(503, CLOSED)
        return _redirection(request, path) or self._content(opened)

    def _content(self, opened: OpenedOutbox) -> ASGIApp:
        if "page" not in opened.made:
            web = self._new_content(opened)
            dispatch = BoundedDispatch(opened.application.bus, opened.settings.max_dispatches)
            opened.made["page"] = DispatchAfterResponse(web, opened.group, dispatch)
        content: ASGIApp = opened.made["page"]
        return content

    def _new_content(self, opened: OpenedOutbox) -> FastAPI:
        web = FastAPI(
            openapi_url=None,
            redirect_slashes=False,
            middleware=[Middleware(BodyLimit, MAX_BODY_BYTES), Middleware(KindsAnswered)],
            exception_handlers=dict.fromkeys(ANSWERED, answer_error),
        )
        web.state.name, web.state.application = self._app.name, opened.application
        web.state.probes = opened  # which know when to stop

        @web.get("/")
        async def page() -> Response:
            return shell(self._app.name, body="<body data-mounted>")

        web.mount("/page/assets", ASSETS)
        web.include_router(data)
        for parts in self._app.parts:
            for find in parts.operator_routes:
                web.include_router(find(), dependencies=[Depends(receive)])
        return web


def page_router(page: MountedPage, guard: Callable[..., Any] = nobody) -> APIRouter:
    """Return the page as a router of FastAPI; its guard is a dependency like any other."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/{path:path}", methods=METHODS)
    async def answer(
        request: Request, path: str, who: Annotated[object, Depends(guard)], headers: Response
    ) -> Response:
        return _Delegated(lambda send: page.answer(request, who, f"/{path}", send), headers)

    return router


class _Delegated(Response):
    """A response that somebody else sends, with the headers that dependencies have set."""

    def __init__(self, answer: Callable[[Send], Awaitable[None]], more: Response) -> None:
        super().__init__()
        self._answer, self._more = answer, more.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._more]}
            await send(message)

        await self._answer(send_with_headers)


def _path_below_mount(scope: Scope) -> str:
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


def _redirection(request: Request, path: str) -> Response | None:
    """Redirect to the address with a slash at its end, to which the others are relative."""
    asked = request.scope.get("raw_path") or request.scope["path"].encode()
    last = asked.partition(b"?")[0].rpartition(b"/")[2].decode("latin-1")
    if path != "/" or not last:
        return None
    return RedirectResponse(f"./{last}/", 307, headers=SECURITY)


def _from_the_beginning(request: Request) -> Receive:
    """Return how to receive the body, even if a guard has read it."""
    chunks = request.stream()

    async def receive() -> Message:
        async for chunk in chunks:
            return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}
        return await request.receive()

    return receive


def _problem(status: int, detail: str) -> Response:
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    headers = {**SECURITY, "Cache-Control": "no-store", **HEADERS.get(status, {})}
    return Response(json.dumps({**content, "detail": detail}), status, headers, MEDIA_TYPE)
