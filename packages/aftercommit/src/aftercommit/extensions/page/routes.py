"""The endpoints of the page: the page itself for everybody, all data for operators only.

All addresses in it are relative, so that it can be mounted anywhere: see `mounted.py`. Searches and
decisions go to the API of the extension operations.
"""

from html import escape
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.responses import HTMLResponse

from aftercommit.extensions.page.change_feed import ChangeFeed
from aftercommit.extensions.page.handler_map import handler_map
from aftercommit.extensions.web.authentication import operator
from aftercommit.extensions.web.dispatch_after_response import SECURITY
from aftercommit.extensions.web.package_files import add_files

SHELL = files(f"{__package__}.assets").joinpath("page.html").read_text("utf-8")
POLICY = SECURITY["Content-Security-Policy"].replace(" 'unsafe-inline'", "").replace(" data:", "")

router = APIRouter(include_in_schema=False)
assets = APIRouter(include_in_schema=False)
add_files(assets, "/page/assets", str(__package__), "assets")
data = APIRouter(prefix="/page", include_in_schema=False)

Token = Annotated[str, Body(embed=True, max_length=200)]


@router.get("/")
async def page(request: Request) -> Response:
    """Show the page, which contains no data."""
    scripts = "".join(
        f'<script type="module" src="{escape(url)}"></script>' for url in request.app.state.panels
    )
    return shell(request.app.state.name, scripts)


@router.post("/page/session", status_code=204)
async def create(token: Token, request: Request, response: Response) -> None:
    """Log in with the token, or with a link whose code was not used yet."""
    request.app.state.sessions.create(request, response, token)


@router.delete("/page/session", status_code=204, dependencies=[Depends(operator)])
async def log_out(request: Request, response: Response) -> None:
    """End the session of a browser."""
    request.app.state.sessions.end(request, response)


@data.get("/changes")
async def changes(request: Request, after: str = "") -> Response:
    """Send what has changed after a cursor, at once or as soon as something has; or everything."""
    content = await _change_feed(request).changes(request.state.group, after)
    return Response(content, media_type="application/json")


@data.get("/handler-map")
async def show_handler_map(request: Request) -> dict[str, Any]:
    """Show which handlers handle what, with their documentation."""
    return await handler_map(request.app.state.application)


router.include_router(assets)
router.include_router(data, dependencies=[Depends(operator)])


def shell(name: str, scripts: str = "", body: str = "<body>") -> Response:
    """Return the page of an application, with further scripts, and with another beginning."""
    html = SHELL.replace("{name}", name).replace("{NAME}", name.upper())
    html = html.replace("<!-- panels -->", scripts).replace("<body>", body)
    return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})


def _change_feed(request: Request) -> ChangeFeed:
    """Return the one feed of this process."""
    state = request.app.state
    if not hasattr(state, "change_feed"):
        state.change_feed = ChangeFeed(state.application, state.probes.stop)
    feed: ChangeFeed = state.change_feed
    return feed
