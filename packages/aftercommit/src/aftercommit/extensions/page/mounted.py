"""The page within an application of others, whose guard decides who may see it.

It has the endpoints of the page and of the extension operations, and answers as the HTTP server of
the extension web does: with the same headers, limits and problems. All addresses in the page are
relative to its own.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.opened_outbox import OpenedHere, OpenedOutbox
from aftercommit.extensions.operations.decisions import LONGEST
from aftercommit.extensions.page.routes import assets, data, shell
from aftercommit.extensions.web.application import ANSWERED
from aftercommit.extensions.web.body_limit import BodyLimit
from aftercommit.extensions.web.dispatch_after_response import (
    MOUNTED,
    SECURITY,
    DispatchAfterResponse,
)
from aftercommit.extensions.web.idempotent_execution import receive
from aftercommit.extensions.web.mounted import SAFE, Mounted, nobody
from aftercommit.extensions.web.problems import KindsAnswered, answer_error
from aftercommit.process.app import App
from aftercommit.terminal.escaping import escape_controls

MAX_BODY_BYTES = 65536
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]


class MountedPage(Mounted):
    """The page as an ASGI application. Decisions carry the name that the guard has returned."""

    def is_for_links(self, request: Request, path: str) -> bool:
        """Let other sites open the page, which contains no data, but not read what it reads."""
        return path == "/" and request.method in SAFE

    def answering(self, opened: OpenedOutbox, request: Request, who: str, path: str) -> ASGIApp:
        """Return the page, or its redirection."""
        # a log cannot be written with half of a character, nor forged with a line of its own
        name = escape_controls(who)[: LONGEST["by"]].encode(errors="replace").decode()
        content, state = self._content(opened), {"operator": name}

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await content({**scope, MOUNTED: state}, receive, send)
            if request.method not in SAFE:
                opened.wake()  # what was decided may have made a delivery due

        return _redirection(request, path) or answer

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
        web.state.name, web.state.application = self.app.name, opened.application
        web.state.probes = opened  # which know when to stop

        @web.get("/")
        async def page() -> Response:
            return shell(self.app.name, body="<body data-mounted>")

        web.include_router(assets)
        web.include_router(data)
        for parts in self.app.parts:
            for find in parts.operator_routes:
                web.include_router(find(), dependencies=[Depends(receive)])
        return web


def page_router(
    app: App[Any], opened: OpenedHere, guard: Callable[..., Any] | None = None
) -> APIRouter:
    """Return the page as a router of FastAPI; its guard is a dependency like any other."""
    router = APIRouter(tags=[app.name], include_in_schema=False)  # names of routes may need a tag
    page = MountedPage(app, opened)

    @router.api_route("/{path:path}", methods=METHODS)
    async def answer(
        request: Request,
        path: str,
        who: Annotated[object, Depends(guard or nobody)],
        headers: Response,
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


def _redirection(request: Request, path: str) -> Response | None:
    """Redirect to the address with a slash at its end, to which the others are relative."""
    asked = request.scope.get("raw_path") or request.scope["path"].encode()
    last = asked.partition(b"?")[0].rpartition(b"/")[2].decode("latin-1")
    if path != "/" or not last:
        return None
    return RedirectResponse(f"./{last}/", 307, headers=SECURITY)
