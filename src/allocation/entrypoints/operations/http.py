# room: web
"""The endpoints of this room. The room web finds them in the table of rooms, and guards them."""

from contextlib import suppress
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from allocation.adapters.database import Database
from allocation.adapters.operations import decisions, traces, views
from allocation.adapters.operations import history as queries
from allocation.adapters.operations.retrying import retry_once
from allocation.adapters.operations.traces import SomeId, Sought
from allocation.domain.values import EmailAddress
from allocation.service_layer.envelopes import EventId, ReceivedMessage
from allocation.service_layer.exceptions import MessageAlreadyHandled

MAX_ROWS = 1000

router = APIRouter()

State = Literal["owed", "parked"]
Limit = Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many at most.")]
About = Annotated[
    str,
    Path(
        description="The id of a story, command, event or user, or its first eight digits; or the"
        " e-mail address that a user has now.",
        json_schema_extra={
            "anyOf": [{"pattern": "^-*([0-9A-Fa-f]-*){8,32}…?$"}, {"format": "idn-email"}]
        },
        examples=["7d3c1a52"],
    ),
]
HandlerName = Annotated[str, Path(pattern=r"^\w{1,200}$", description="The name of a handler.")]


class Stored(BaseModel):
    """What is shown of something that is stored."""

    model_config = ConfigDict(from_attributes=True)


class AcceptedCommand(Stored):
    """A command, and how many deliveries it led to; `seconds` until all were settled.

    `done` counts those that were `discarded`, too.
    """

    id: UUID
    type: str
    source: str
    correlation_id: UUID
    accepted_at: datetime
    done: int
    discarded: int = 0
    waiting: int
    parked: int
    seconds: float | None


class FailedAttempt(Stored):
    """An attempt of a delivery that failed."""

    attempt: int
    failed_at: datetime
    process: str | None
    error: str


class Node(Stored):
    """A command, an event or a delivery, in the tree of what caused what."""

    kind: Literal["command", "event", "delivery"]
    id: str
    parent: str | None
    name: str
    state: Literal["done", "waiting", "leased", "parked"]
    attempts: int | None
    seconds: float | None
    process: str | None
    due_at: datetime | None
    finished_at: datetime | None
    error: str | None
    failures: list[FailedAttempt]


class Delivery(Stored):
    """What a handler owes to an event."""

    event_id: UUID
    event_type: str
    handler: str
    attempts: int
    due_at: datetime | None
    parked_at: datetime | None
    process: str | None = None
    last_error: str | None


@router.get("/history")
async def history(
    request: Request, limit: Limit = 20, failed: bool = False
) -> list[AcceptedCommand]:
    """List the latest commands, the newest first; with `failed`, those with trouble."""
    rows = await queries.history(_database(request), limit=limit, failed_only=failed)
    return [AcceptedCommand.model_validate(row) for row in rows]


@router.get("/traces/{about:path}", responses={404: {}})  # an address may have a slash in it
async def trace(about: About, request: Request) -> list[Node]:
    """Show what something has caused, and what became of it: the newest 100 stories it is in."""
    sought: Sought = EmailAddress(about) if "@" in about else SomeId(about)
    nodes = await traces.trace(_database(request), sought)
    return [Node.model_validate(node) for node in nodes]


@router.get("/deliveries")
async def list_deliveries(
    request: Request, state: State = "owed", limit: Limit = 100
) -> list[Delivery]:
    """List what is owed, first what is tried; or only what is parked."""
    parked_only = state == "parked"
    async with views.listed_deliveries(
        _database(request), parked_only=parked_only, limit=limit
    ) as rows:
        return [Delivery.model_validate(row) async for row in rows][:limit]


@router.post("/deliveries/{event_id}/{handler}/retry", status_code=204, responses={404: {}})
async def retry(event_id: UUID, handler: HandlerName, request: Request) -> None:
    """Make a delivery due at once, with all its attempts before it."""
    received: ReceivedMessage = request.state.received
    with suppress(MessageAlreadyHandled):
        await retry_once(_database(request), EventId(event_id), handler, received)


@router.delete("/deliveries/{event_id}/{handler}", status_code=204, responses={404: {}})
async def discard(event_id: UUID, handler: HandlerName, request: Request) -> None:
    """Let a delivery count as done, although nobody has done it."""
    await decisions.discard(_database(request), EventId(event_id), handler)


def _database(request: Request) -> Database:
    database: Database = request.app.state.application.database
    return database
