"""The commands about all deliveries of a handler, that is its pauses, and about decisions."""

from typing import get_args

import click

from aftercommit.extensions.operations import handler_pauses
from aftercommit.extensions.operations.cli_parts import (
    FROM,
    as_json,
    decided,
    pausable,
    print_rows,
    with_application,
)
from aftercommit.extensions.operations.decisions import (
    Decision,
    Stored,
    StoredDecision,
    latest_decisions,
)
from aftercommit.extensions.operations.latest_commands import MAX_ROWS
from aftercommit.extensions.operations.replay import count_left
from aftercommit.extensions.operations.times import duration
from aftercommit.process.application import Application
from aftercommit.terminal.printing import pluralize

WHAT = [each for some in get_args(Stored) for each in get_args(some)]
WAITING = "its messages wait at the broker"
LEFT = (
    "warning: a replay to {0} was interrupted: {1} no delivery. To keep the order, pause {0},"
    " repeat the replay, and resume {0}"
)


@click.command("pause")
@pausable
@decided
@with_application
async def pause(application: Application, handler: str, decision: Decision) -> None:
    """Pause HANDLER: hold its deliveries until it is resumed. A subscription is called from.NAME.

    Running attempts go on to their end. New deliveries are held, too. Held ones are not late. The
    messages of a paused subscription stay in its queue, or in their topic.
    """
    names = handler_pauses.names_to_pause(application, handler)
    count = await handler_pauses.pause(application.database, names, decision)
    held = WAITING if handler.startswith(FROM) else f"{pluralize(count or 0)} held"
    result = "was already paused" if count is None else f"paused: {held}"
    click.echo(f"{handler} {result}")


@click.command("resume")
@pausable
@decided
@with_application
async def resume(application: Application, handler: str, decision: Decision) -> None:
    """Resume HANDLER, even if it no longer exists, or from.NAME, and release what was held."""
    names = await handler_pauses.paused_names(application, handler)
    if left := await count_left(application.bus, application.database, handler):
        click.echo(
            LEFT.format(handler, pluralize(left, "past event has", "past events have")), err=True
        )
    count = await handler_pauses.resume(application.database, names, decision)
    released = "" if handler.startswith(FROM) else f": {pluralize(count or 0)} released"
    result = "was not paused" if count is None else f"resumed{released}"
    click.echo(f"{handler} {result}")


@click.command("pauses")
@as_json
@with_application
async def pauses(application: Application, as_json: bool) -> None:
    """List the paused handlers and subscriptions, with the time and who paused them."""
    async with application.database.read_transaction() as transaction:
        rows = await handler_pauses.paused_handlers(transaction)
    none = 'nothing is paused; "deliveries pause" holds the deliveries of a handler'
    await print_rows(rows, _paused, as_json=as_json, none=none)


def _paused(row: handler_pauses.Pause) -> str:
    return f"{row.handler:24}  {row.paused_at:%FT%TZ}  {row.paused_by}"


@click.command("decisions")
@click.option(
    "--limit", type=click.IntRange(1, MAX_ROWS), default=20, help="How many to show. Default: 20"
)
@duration("--older-than", help="Only those before the last period, such as 30d.")
@click.option("--decision", type=click.Choice(WHAT), metavar="WHAT", help="Such as discard.")
@click.option("--by", "decided_by", metavar="NAME", help="Only those of this person.")
@click.option("--handler", metavar="HANDLER", help="Only those about this handler.")
@as_json
@with_application
async def decisions(
    application: Application,
    /,
    limit: int,
    older_than: int | None,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """List what operators have decided, newest first: who, when, about what, and why.

    A decision about many deliveries of a handler, such as to retry all, is one line.
    """
    rows = await latest_decisions(
        application.database, limit=limit, older_than=older_than or 0, **wanted
    )
    none = "no decisions; who pauses, retries, discards or replays makes one"
    await print_rows(rows, _decided, as_json=as_json, none=none)


def _decided(row: StoredDecision) -> str:
    events = f"{row.events} events" if row.events > 1 else "-"
    about = f"{row.event_id or events!s:36}  {row.handler or '-':24}"
    line = f"{row.decided_at:%FT%TZ}  {row.decision:7}  {about}  {row.decided_by}"
    return f"{line}  {row.reason}" if row.reason else line


COMMANDS = [pause, resume, pauses, decisions]
