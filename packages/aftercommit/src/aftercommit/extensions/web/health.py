"""The endpoints for those who start, stop, balance and watch processes."""

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
    """Tell that the process is alive, whatever its database does."""
    return Alive()


@public.get("/readyz", responses=errors(NotReady))
async def readyz(request: Request) -> Ready:
    """Tell whether requests may be sent here: else 503, and why.

    The database is there, with a schema that will do; what is due is done in time; and the process
    is not about to stop.
    """
    if problem := request.app.state.probes.readiness_error():
        raise NotReady(problem)
    return Ready()


@guarded.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return what this process has done, and what is outstanding, as Prometheus reads it."""
    text = await to_thread.run_sync(request.app.state.probes.metrics)
    return Response(text, media_type=CONTENT_TYPE)
