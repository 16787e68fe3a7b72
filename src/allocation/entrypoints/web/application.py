"""Puts the HTTP application together: the endpoints of this room, and those that rooms bring."""

from collections.abc import Iterable, Iterator, Sequence
from pkgutil import resolve_name

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from allocation.bootstrap import Application
from allocation.entrypoints.metrics.serving import Probes
from allocation.entrypoints.web import documentation, health, users
from allocation.entrypoints.web.access import operator
from allocation.entrypoints.web.bodies import Bodies
from allocation.entrypoints.web.exchanges import STORY, Exchanges, exchange_of
from allocation.entrypoints.web.executing import recognizable
from allocation.entrypoints.web.problems import problem
from allocation.entrypoints.web.settings import WebSettings
from allocation.rooms import ROOMS

OWN = (users.public, users.guarded, health.public, health.guarded, documentation.public)
OF_ROOMS = {name: room for name, room in ROOMS.items() if room.routes or room.open_routes}


def web_application(settings: WebSettings, rooms: Iterable[str] = OF_ROOMS) -> FastAPI:
    """Return the application with its own endpoints and, under the operator's guard, of rooms."""
    app = FastAPI(
        title="allocation",
        version="1.0.0",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            *_pages_of_others(settings.origins),
            Middleware(Exchanges, hosts=settings.hosts),
            Middleware(Bodies, limit=settings.http_body_bytes, seconds=settings.http_seconds),
        ],
        exception_handlers={HTTPException: _answer, RequestValidationError: _answer},
    )
    for router in OWN:
        app.include_router(router)
    for room in rooms:
        if routes := OF_ROOMS[room].routes:
            guards = [Depends(operator), Depends(recognizable)]
            app.include_router(resolve_name(routes), tags=[room], dependencies=guards)
        if open_routes := OF_ROOMS[room].open_routes:
            app.include_router(resolve_name(open_routes), tags=[room])
    app.mount(documentation.ASSETS, documentation.assets())
    documentation.document_with(app)
    app.state.panels = []  # URLs of further scripts of the page  # room: page
    return app


def connect(app: FastAPI, application: Application, probes: Probes, token: str) -> None:
    """Give the endpoints what they work with."""
    app.state.application, app.state.probes = application, probes
    app.state.operator_token = token


def _pages_of_others(origins: Sequence[str]) -> Iterator[Middleware]:
    """Let pages of these origins ask, and read every answer (CORS); without any, let none."""
    if origins:
        yield Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Idempotency-Key", "traceparent", STORY],
            expose_headers=["Link", "Location", "Retry-After", STORY],
        )


async def _answer(request: Request, error: Exception) -> JSONResponse:
    is_other_method = isinstance(error, HTTPException) and error.status_code == 405
    if is_other_method and (methods := ", ".join(_methods(request))):
        error = HTTPException(405, headers={"Allow": methods})
    return problem(error, exchange_of(request).correlation_id)


def _methods(request: Request) -> Iterator[str]:
    """Yield what can be done to a resource, by all its routes: the framework names the first's."""
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            yield method
