"""The endpoints for those who start, stop and balance processes."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from allocation.adapters.web import views
from allocation.bootstrap import Application
from allocation.domain.exceptions import Unavailable
from allocation.entrypoints.web.exceptions import NotReady

public = APIRouter(tags=["health"])


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

    The database is there, with the current schema; what is owed is done in time; and the process
    is not about to stop.
    """
    state = request.app.state
    if state.stop.is_set:
        raise NotReady("the process is stopping")
    try:
        await views.check_schema(state.application.database, state.newest_revision)
        overdue = await _overdue(state.application)
    except Unavailable as error:
        raise NotReady("the database cannot be used") from error
    if overdue > state.overdue_seconds:
        raise NotReady(f"work is overdue for {overdue:.0f} s: does a worker run?")
    return Ready()


async def _overdue(application: Application) -> float:
    """Return for how many seconds the oldest delivery has been due; less than 0 if none is."""
    return -(await application.outbox.seconds_until_due(application.handlers) or 0.0)
