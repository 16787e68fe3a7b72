"""The endpoints for those who start, stop, balance and watch processes."""

from typing import Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from allocation.entrypoints.metrics.exposition import CONTENT_TYPE
from allocation.entrypoints.metrics.serving import Probes
from allocation.entrypoints.web.access import operator
from allocation.entrypoints.web.exceptions import NotReady

public = APIRouter(tags=["health"])
guarded = APIRouter(tags=["health"], dependencies=[Depends(operator)])


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


@public.get("/readyz")
async def readyz(request: Request) -> Ready:
    """Tell whether requests may be sent here: else 503, and why.

    The database is there, with a schema that will do; what is owed is done in time; and the process
    is not about to stop.
    """
    if problem := await _probes(request).problem():
        raise NotReady(problem)
    return Ready()


@guarded.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Tell what this process has done, and what is owed, as Prometheus reads it."""
    return Response(await _probes(request).metrics(), media_type=CONTENT_TYPE)


def _probes(request: Request) -> Probes:
    probes: Probes = request.app.state.probes
    return probes
