"""Puts the HTTP application together: its own endpoints, and those of extensions."""

import re
import secrets
from collections.abc import Collection
from enum import Enum
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from aftercommit.database.exceptions import DatabaseUnavailable
from aftercommit.extensions.web import WebExtension, documentation, health
from aftercommit.extensions.web.authentication import operator
from aftercommit.extensions.web.body_limit import BodyLimit
from aftercommit.extensions.web.browser_sessions import Sessions
from aftercommit.extensions.web.exceptions import (
    InvalidRequest,
    NotAuthenticated,
    NotJson,
    UnknownHost,
)
from aftercommit.extensions.web.idempotent_execution import receive
from aftercommit.extensions.web.problems import BUG, KindsAnswered, answer_error, errors
from aftercommit.extensions.web.request_context import REQUEST_ID
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.process.app import App

ANSWERED = (HTTPException, RequestValidationError, OSError, Exception)
ASKED_BY_ADDRESS = ("/healthz", "/readyz")  # as probes do, such as those of Kubernetes


def web_application(app: App[Any], settings: WebSettings) -> FastAPI:
    """Return the HTTP application: the endpoints of `app`, and those of its parts, protected.

    Its state holds what endpoints work with: `application` and `probes`, as soon as they are open.
    """
    limit = Middleware(BodyLimit, max_bytes=settings.http_max_body_bytes)
    web = documentation.Documented(
        title=app.name,
        version="1.0.0",
        description=documentation.description(app.summary),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(documentation.trace_headers)],
        middleware=[
            *_cors(settings.origins),
            limit,
            Middleware(KindsAnswered),
            *_known_hosts(settings.hosts),
        ],
        exception_handlers=dict.fromkeys(ANSWERED, answer_error) | {405: _name_methods},
        responses=errors(NotJson, InvalidRequest, DatabaseUnavailable) | BUG,
    )
    web.state.name = app.name
    web.state.operator_token = settings.operator_token or secrets.token_urlsafe(24)
    web.state.sessions = Sessions(web.state.operator_token)
    web.state.panels = [script for parts in app.parts for script in parts.page_scripts]
    guards = [Depends(operator), Depends(receive)]
    refused = errors(NotAuthenticated)
    own = app.extension(WebExtension).import_routes()
    for router in (*(each.public for each in own), health.public, documentation.public):
        web.include_router(router, dependencies=[Depends(receive)])
    for router in (*(each.guarded for each in own), health.guarded):
        web.include_router(router, dependencies=guards, responses=refused)
    for parts in app.parts:
        tags: list[str | Enum] = [parts.name]
        for find in parts.operator_routes:
            web.include_router(find(), tags=tags, dependencies=guards, responses=refused)
        for find in parts.public_routes:
            web.include_router(find(), tags=tags)
    return web


class KnownHosts:
    """A middleware that passes only requests for this server, by its host names.

    :raises UnknownHost: if a request is for another host
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        host = Headers(scope=scope).get("host", "").lower()
        is_ours = re.sub(r":\d+$", "", host) in self._hosts
        if not is_ours and scope["path"] not in ASKED_BY_ADDRESS:
            raise UnknownHost
        await self._app(scope, receive, send)


def _known_hosts(hosts: Collection[str]) -> list[Middleware]:
    """Allow only requests for these hosts; without hosts, allow all."""
    return [Middleware(KnownHosts, hosts=hosts)] if hosts else []


def _cors(origins: list[str]) -> list[Middleware]:
    """Let pages of these origins send requests and read responses; without origins, none."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Authorization", "Idempotency-Key", "traceparent", REQUEST_ID],
        expose_headers=["Link", "Location", "Retry-After", REQUEST_ID],
    )
    return [cors] if origins else []


async def _name_methods(request: Request, error: Exception) -> Response:
    """List all methods of a resource: the framework lists only those of its first route."""
    answer = await answer_error(request, error)
    asked = ({**request.scope, "method": method} for method in ("GET", "POST", "PUT", "DELETE"))
    routes = request.app.routes
    found = [s["method"] for s in asked if any(r.matches(s)[0] is Match.FULL for r in routes)]
    if found:
        answer.headers["Allow"] = ", ".join(found).replace("GET", "GET, HEAD")
    return answer
