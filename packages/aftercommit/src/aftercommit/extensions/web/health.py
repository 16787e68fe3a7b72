"""The endpoints for those who start, stop, balance and monitor processes."""

from typing import Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from aftercommit.extensions.metrics.process_health import CONTENT_TYPE
from aftercommit.extensions.web.exceptions import NotReady
from aftercommit.extensions.web.problems import errors

public, guarded = APIRouter(tags=["health"]), APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """The process may be sent requests."""

    status: Literal["ready"] = "ready"


@public.get("/healthz")
async def healthz() -> Alive:
    """Return that the process is alive, whatever its database does."""
    return Alive()


@public.get("/readyz", responses=errors(NotReady))
async def readyz(request: Request) -> Ready:
    """Return whether requests may be sent here; if not, 503 and the reason.

    The database has to be up, with a suitable schema; due deliveries have to be done in time; and
    the process must not be about to stop.
    """
    if problem := request.app.state.probes.readiness_error():
        raise NotReady(problem)
    return Ready()


@guarded.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return the metrics of this process and of the outstanding work, in Prometheus's format."""
    text = await to_thread.run_sync(request.app.state.probes.metrics)
    return Response(text, media_type=CONTENT_TYPE)
