"""The endpoints of the page: the page itself for everybody, all data for the operator only."""

import logging
from contextlib import suppress
from html import escape
from importlib.resources import files
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field
from starlette.staticfiles import StaticFiles

from allocation.extensions.operations import delivery_admin
from allocation.extensions.operations.causation_queries import trace_query
from allocation.extensions.operations.exceptions import DeliveryNotFound
from allocation.extensions.page import trace_queries
from allocation.extensions.page.handler_map import handler_map
from allocation.extensions.page.live_feed import LiveFeed
from allocation.extensions.page.trace_json import to_json
from allocation.extensions.web.authentication import operator
from allocation.extensions.web.background_dispatch import SECURITY
from allocation.service_layer.envelopes import EventId

SHELL = files(f"{__package__}.assets").joinpath("page.html").read_text("utf-8")
MAX_DECISIONS = 200
POLICY = SECURITY["Content-Security-Policy"].replace(" 'unsafe-inline'", "").replace(" data:", "")

router = APIRouter(include_in_schema=False)
router.mount("/page/assets", StaticFiles(packages=[(str(__package__), "assets")]))
guarded = APIRouter(prefix="/page", dependencies=[Depends(operator)])

Token = Annotated[str, Body(embed=True, max_length=200)]
HandlerName = Annotated[str, Field(pattern=r"^\w{1,200}$")]

logger = logging.getLogger(__name__)


@router.get("/")
async def page(request: Request) -> Response:
    """Show the page, which has no data in it."""
    scripts = "".join(
        f'<script type="module" src="{escape(url)}"></script>' for url in request.app.state.panels
    )
    return HTMLResponse(
        SHELL.replace("<!-- panels -->", scripts), headers={"Content-Security-Policy": POLICY}
    )


@router.post("/page/session", status_code=204)
async def create(token: Token, request: Request, response: Response) -> None:
    """Let somebody in who knows the token, or has a link with a code that was not used yet."""
    request.app.state.sessions.create(request, response, token)


@guarded.get("/session", status_code=204)
async def check() -> None:
    """Tell a browser that it is let in."""


@guarded.delete("/session", status_code=204)
async def log_out(request: Request, response: Response) -> None:
    """End the session of a browser."""
    request.app.state.sessions.end(request, response)


@guarded.get("/changes")
async def changes(request: Request, after: str = "") -> Response:
    """Send what has changed after a cursor, at once or as soon as something has; or all of it."""
    content = await _live_feed(request).changes(request.state.group, after)
    return Response(content, media_type="application/json")


@guarded.get("/traces/{about:path}")  # an address may have a slash in it
async def traces(about: str, request: Request) -> Response:
    """Find traces, also old ones: by the id of anything in them, or by an e-mail address."""
    found = await trace_queries.search(request.app.state.application.database, trace_query(about))
    json = b"[%s]" % b",".join(map(to_json, found))
    return Response(json, media_type="application/json")


@guarded.get("/handler-map")
async def show_handler_map(request: Request) -> dict[str, Any]:
    """Show which handlers handle what, and what is written about them."""
    return await handler_map(request.app.state.application.bus)


@guarded.post("/decisions")
async def decide(
    action: Annotated[Literal["retry", "discard"], Body()],
    deliveries: Annotated[list[tuple[UUID, HandlerName]], Body(max_length=MAX_DECISIONS)],
    request: Request,
) -> dict[str, int]:
    """Retry or discard deliveries, one after the other; what is done by now is left out."""
    change = {"retry": delivery_admin.retry, "discard": delivery_admin.discard}[action]
    who = request.client.host if request.client else "nowhere"
    done = 0
    for event_id, handler in deliveries:
        with suppress(DeliveryNotFound):
            await change(request.app.state.application.database, EventId(event_id), handler)
            done += 1
            what = f"{action} of {handler} for event {event_id}"
            logger.info("%s, by hand, from %s", what, who)
    _live_feed(request).refresh()
    return {"done": done}


@guarded.post("/pauses")
async def pause(
    action: Annotated[Literal["pause", "resume"], Body()],
    handler: Annotated[HandlerName, Body()],
    request: Request,
) -> dict[str, int]:
    """Pause or resume a handler; return how many deliveries that holds or releases."""
    application = request.app.state.application
    names = delivery_admin.all_names(application.handlers, handler)
    who = f"operator@{request.client.host if request.client else 'nowhere'}"
    if action == "pause":
        done = await delivery_admin.pause(application.database, names, by=who)
    else:
        done = await delivery_admin.resume(application.database, names)
    logger.info("%s of %s, by hand, from %s", action, handler, who)
    _live_feed(request).refresh()
    return {"done": done or 0}


router.include_router(guarded)


def _live_feed(request: Request) -> LiveFeed:
    """Return the one feed of this process."""
    state = request.app.state
    if not hasattr(state, "live_feed"):
        state.live_feed = LiveFeed(state.application.database, state.probes.stop)
    feed: LiveFeed = state.live_feed
    return feed
