"""The endpoints of this extension. The extension web finds and protects them."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from aftercommit.deliveries.inbox import record_command
from aftercommit.envelopes import EventId
from aftercommit.errors import MessageAlreadyHandled
from aftercommit.extensions.idempotency_key_parameter import IdempotencyKey
from aftercommit.extensions.operations import (
    delivery_admin,
    handler_pauses,
    trace_queries,
)
from aftercommit.extensions.operations.causation_tree import Node
from aftercommit.extensions.operations.decisions import LONGEST, Decision
from aftercommit.extensions.operations.delivery_admin import Delivery, listed_deliveries
from aftercommit.extensions.operations.latest_commands import (
    MAX_ROWS,
    AcceptedCommand,
    latest_commands,
)
from aftercommit.extensions.operations.limit_admin import held_by
from aftercommit.extensions.operations.subject_lookup import FindSubjects
from aftercommit.process.application import Application

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"description": "It does not exist.", "content": PROBLEM}
}
ABOUT = (
    "The id of a trace, command, event or subject, or its first eight digits; or a text by"
    " which the application finds subjects."
)
ID_FORM = {"pattern": "^-*([0-9A-Fa-f]-*){8,32}…?$"}

router = APIRouter()


logger = logging.getLogger(__name__)


async def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


Reason = Annotated[
    str | None,
    Query(max_length=LONGEST["reason"], description="The reason, which the history shows."),
]


async def _decision(request: Request, reason: Reason = None) -> Decision:
    by = _named(request) or f"operator@{_client(request)}"
    return Decision(by=by, reason=reason)


Decided = Annotated[Decision, Depends(_decision)]
Running = Annotated[Application, Depends(_application)]
Limit = Annotated[int, Query(ge=1, le=MAX_ROWS, description="The most to return.")]
HandlerName = Annotated[str, Path(pattern=r"^\w{1,200}$", description="The name of a handler.")]
PausableName = Annotated[
    str,
    Path(
        pattern=r"^(from\.)?\w{1,200}$",
        description="The name of a handler, or `from.` and the name of a subscription.",
    ),
]


def routes(find_subjects: FindSubjects, form: Mapping[str, Any]) -> APIRouter:
    """Return all endpoints; `form` is the schema of texts by which subjects are found."""
    every = APIRouter(routes=[*router.routes])
    forms = {"anyOf": [ID_FORM, *([dict(form)] if form else [])]}
    of_about = Path(description=ABOUT, json_schema_extra=forms, examples=["7d3c1a52"])

    # such a text may contain a slash
    @every.get("/traces/{about:path}", responses=NOT_FOUND)
    async def trace(about: Annotated[str, of_about], running: Running) -> list[Node]:
        """Show what something has caused, and the results, in its newest 100 traces."""
        query = trace_queries.trace_query(about, find_subjects)
        found = await trace_queries.find_traces(running.database, query)
        return [*found.nodes]

    return every


@router.get("/history")
async def history(
    running: Running, limit: Limit = 20, failed: bool = False
) -> list[AcceptedCommand]:
    """List the latest commands, newest first; with `failed`, only those with trouble."""
    return [*await latest_commands(running.database, limit=limit, failed_only=failed)]


@router.get("/deliveries")
async def list_deliveries(
    running: Running,
    state: Literal["outstanding", "parked", "scheduled"] = "outstanding",
    limit: Limit = 100,
) -> list[Delivery]:
    """List outstanding deliveries, pending ones first; or only parked ones, or delayed ones.

    A delayed delivery is listed as outstanding when its time has come.
    """
    async with running.database.read_transaction() as transaction:
        database = running.database
        held = await held_by(transaction, database, running.bus.delivery_store.limits)
        rows = listed_deliveries(transaction, database, state, limit=limit, held=held)
        return [row async for row in rows][:limit]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDelivery:
    """Make a delivery due now, without the bus: no aggregate decides about deliveries."""

    event_id: EventId
    handler: str


@router.post("/deliveries/{event_id}/{handler}/retry", status_code=204, responses=NOT_FOUND)
async def retry(
    event_id: UUID,
    handler: HandlerName,
    running: Running,
    request: Request,
    decision: Decided,
    _key: IdempotencyKey = None,
) -> None:
    """Reset a delivery's attempts, and make it due now."""
    command = RetryDelivery(event_id=EventId(event_id), handler=handler)
    database = running.database
    envelope = running.bus.envelopes.of_command(command, request.state.received)
    with suppress(MessageAlreadyHandled):
        async with database.write_transaction() as transaction:
            await record_command(transaction, database.clock, envelope)
            event, decide = command.event_id, delivery_admin.retry_in
            await decide(transaction, database, event, handler, decision)
            await transaction.commit()
        _log(request, f"retry of {handler} for event {event_id}")


@router.delete("/deliveries/{event_id}/{handler}", status_code=204, responses=NOT_FOUND)
async def discard(
    event_id: UUID, handler: HandlerName, running: Running, request: Request, decision: Decided
) -> None:
    """End a delivery whose handler has not done it."""
    await delivery_admin.discard(running.database, EventId(event_id), handler, decision)
    _log(request, f"discard of {handler} for event {event_id}")


@dataclass(frozen=True, slots=True)
class Affected:
    """How many deliveries are held or released; null, if nothing has changed."""

    deliveries: int


@router.put("/handlers/{handler}/pause", responses=NOT_FOUND)
async def pause(
    handler: PausableName, running: Running, request: Request, decision: Decided
) -> Affected:
    """Pause a handler: no process begins its deliveries until it is resumed."""
    names = handler_pauses.names_to_pause(running, handler)
    count = await handler_pauses.pause(running.database, names, decision)
    _log(request, f"pause of {handler}")
    return Affected(count or 0)


@router.delete("/handlers/{handler}/pause", responses=NOT_FOUND)
async def resume(
    handler: PausableName, running: Running, request: Request, decision: Decided
) -> Affected:
    """Resume a handler: its deliveries run again, each when it is due."""
    names = await handler_pauses.paused_names(running, handler)
    count = await handler_pauses.resume(running.database, names, decision)
    _log(request, f"resume of {handler}")
    return Affected(count or 0)


def _log(request: Request, decision: str) -> None:
    logger.info("%s, by hand, from %s", decision, _named(request) or _client(request))


def _named(request: Request) -> str | None:
    """Return who decides, if the guard of an application has said so."""
    named: str | None = getattr(request.state, "operator", None)
    return named


def _client(request: Request) -> str:
    return request.client.host if request.client else "nowhere"
