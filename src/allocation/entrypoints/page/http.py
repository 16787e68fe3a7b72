"""The endpoints of the page: the page itself for everybody, all data for the operator only."""

import logging
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from allocation.adapters.operations import decisions
from allocation.adapters.operations.exceptions import DeliveryNotFound
from allocation.adapters.operations.traces import SomeId
from allocation.adapters.page import stories
from allocation.domain.values import EmailAddress
from allocation.entrypoints.page.reader import Reader
from allocation.entrypoints.page.stream import Stream
from allocation.entrypoints.page.telling import told
from allocation.entrypoints.page.wiring import wiring
from allocation.entrypoints.web.access import check_token, operator, remember
from allocation.entrypoints.web.exceptions import NotAuthenticated
from allocation.service_layer.envelopes import EventId

ASSETS = {file.name: file.read_bytes() for file in files(f"{__package__}.assets").iterdir()}
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
MAX_DECISIONS = 200
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
}

router = APIRouter(include_in_schema=False)
guarded = APIRouter(prefix="/page", dependencies=[Depends(operator)])

HandlerName = Annotated[str, Field(pattern=r"^\w{1,200}$")]

logger = logging.getLogger(__name__)


class Token(BaseModel):
    """What somebody types in who has no link with it."""

    model_config = ConfigDict(extra="forbid")
    token: Annotated[str, Field(max_length=200)]


class Decisions(BaseModel):
    """What a person has decided about some deliveries, each an event's id and a handler's name."""

    model_config = ConfigDict(extra="forbid")
    action: Literal["retry", "discard"]
    deliveries: Annotated[list[tuple[UUID, HandlerName]], Field(max_length=MAX_DECISIONS)]


@router.get("/")
async def page(request: Request, token: str | None = None) -> Response:
    """Show the page, which has no data in it; a token in the address becomes a cookie."""
    if token is not None:
        return _entered(request, token)
    scripts = "".join(
        f'<script type="module" src="{escape(url)}"></script>' for url in request.app.state.panels
    )
    shell = ASSETS["page.html"].decode().replace("<!-- panels -->", scripts)
    return HTMLResponse(shell, headers=POLICY)


@router.get("/page/assets/{name}")
async def asset(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    """Send a file of the page, unless the browser has it already."""
    content, type_ = ASSETS.get(name), TYPES.get(name.rpartition(".")[2])
    if content is None or type_ is None:
        raise HTTPException(404)
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=type_, headers=headers)


@router.post("/page/session", status_code=204)
async def enter(token: Token, request: Request, response: Response) -> None:
    """Let somebody in who knows the token."""
    check_token(request, token.token)
    remember(request, response)


@guarded.get("/session", status_code=204)
async def is_in() -> None:
    """Tell a browser that it is let in."""


@guarded.get("/stream")
async def stream(
    request: Request,
    last_event_id: Annotated[str, Header()] = "",
    after: Annotated[str, Query()] = "",
) -> Response:
    """Send what changes, as it changes: first all of it, or all since the last that was seen."""
    return Stream(_reader(request), request.state.group, last_event_id or after)


@guarded.get("/stories/{about:path}")  # an address may have a slash in it
async def story(about: str, request: Request) -> Response:
    """Find stories, also old ones: by the id of anything in them, or by an e-mail address."""
    sought = EmailAddress(about) if "@" in about else SomeId(about)
    found = await stories.sought(request.app.state.application.database, sought)
    json = b"[%s]" % b",".join(map(told, found))
    return Response(json, media_type="application/json")


@guarded.get("/wiring")
async def show_wiring(request: Request) -> dict[str, Any]:
    """Show what handles what, and what is written about it."""
    return await wiring(request.app.state.application.bus)


@guarded.post("/decisions")
async def decide(decided: Decisions, request: Request) -> dict[str, int]:
    """Retry or discard deliveries, one after the other; what is not owed any more is left out."""
    change = {"retry": decisions.retry, "discard": decisions.discard}[decided.action]
    database, who = request.app.state.application.database, request.client
    done = 0
    for event_id, handler in decided.deliveries:
        try:
            await change(database, EventId(event_id), handler)
        except DeliveryNotFound:
            continue
        done += 1
        what = f"{decided.action} of {handler} for event {event_id}"
        logger.info("%s, by hand, from %s", what, who.host if who else "nowhere")
    _reader(request).look_now()
    return {"done": done}


router.include_router(guarded)


def _entered(request: Request, token: str) -> Response:
    """Return the way to the page without the token, whether it is right or not: the page asks."""
    response = RedirectResponse("/", 303)
    try:
        check_token(request, token)
    except NotAuthenticated:
        return response
    remember(request, response)
    return response


def _reader(request: Request) -> Reader:
    """Return the one reader of this process."""
    state = request.app.state
    if not hasattr(state, "reader"):
        state.reader = Reader(state.application.database, state.probes.stop)
    reader: Reader = state.reader
    return reader
