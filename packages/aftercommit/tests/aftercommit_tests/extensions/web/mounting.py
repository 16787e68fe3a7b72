"""Applications of others that have mounted the page and the metrics of their outbox."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aftercommit import Outbox
from fastapi import FastAPI, HTTPException, Request
from litestar import Litestar, Router, asgi
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "http://shop.example"
MARIA = {"X-User": "maria@shop.example"}
FROM_PAGE = MARIA | {"Origin": HOST}

FOREIGN: list[dict[str, str]] = [
    {},
    {"Origin": "null"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://shop.example:8080"},
    {"Origin": "http://shop.example.evil.example"},
    {"Origin": HOST, "Sec-Fetch-Site": "cross-site"},
    {"Origin": HOST, "Sec-Fetch-Site": "same-site"},
]
"""What a browser sends with a request that another site has caused."""


async def signed_in(request: Request) -> str:
    """Return who is asking, as the application knows it; raise what it answers to others."""
    if name := request.headers.get("x-user"):
        return name
    raise HTTPException(401, "sign in first", {"WWW-Authenticate": "Shop"})


def in_fastapi(outbox: Outbox) -> FastAPI:
    """Return an application of FastAPI with both."""
    app = FastAPI()
    app.include_router(outbox.page_router(signed_in), prefix="/admin/outbox")
    app.routes.append(Route("/metrics", outbox.metrics(signed_in)))
    return app


def in_starlette(outbox: Outbox) -> Starlette:
    """Return an application of Starlette with both."""
    page, metrics = outbox.page(signed_in), outbox.metrics(signed_in)
    return Starlette(routes=[Mount("/admin/outbox", page), Route("/metrics", metrics)])


def in_litestar(outbox: Outbox) -> Litestar:
    """Return an application of Litestar with both."""
    page: Any = outbox.page(signed_in)
    metrics: Any = outbox.metrics(signed_in)
    admin = [asgi("/outbox", is_mount=True, copy_scope=True)(page)]
    of_prometheus = asgi("/metrics", copy_scope=True)(metrics)
    handlers: list[Any] = [Router("/admin", route_handlers=admin), of_prometheus]
    return Litestar(route_handlers=handlers, openapi_config=None)


APPLICATIONS: Mapping[str, Callable[[Outbox], Any]] = {
    "fastapi": in_fastapi,
    "starlette": in_starlette,
    "litestar": in_litestar,
}


@asynccontextmanager
async def browser(app: ASGIApp, prefix: str = "/admin/outbox") -> AsyncIterator[httpx.AsyncClient]:
    """Ask an application for what is below a prefix."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=f"{HOST}{prefix}") as client:
        yield client


def stripped(app: ASGIApp, prefix: str, root: str = "") -> ASGIApp:
    """Return the application behind a proxy that removes a prefix, and says so as `root_path`."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(prefix)
        await app({**scope, "path": path, "root_path": root}, receive, send)

    return proxy
