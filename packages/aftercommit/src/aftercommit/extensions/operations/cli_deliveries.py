"""The commands about deliveries: what is outstanding, what is parked, and what is past."""

from collections import Counter
from collections.abc import AsyncIterator, Collection
from functools import partial
from uuid import UUID

import click
import msgspec
import sqlalchemy as sa
from rich.cells import cell_len

from aftercommit.cli.command_context import Cli
from aftercommit.envelopes import EventId
from aftercommit.extensions.operations import cli_handlers, delivery_admin
from aftercommit.extensions.operations.cli_parts import (
    as_json,
    decided,
    fit,
    handler,
    is_wanted,
    progress,
    say_none,
    with_application,
)
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.delivery_admin import (
    Delivery,
    Readiness,
    Which,
    listed_deliveries,
)
from aftercommit.extensions.operations.exceptions import HasExternalEffects, NotAProjection
from aftercommit.extensions.operations.limit_admin import held_by
from aftercommit.extensions.operations.replay import Replay, replay_of
from aftercommit.extensions.operations.times import duration, format_duration
from aftercommit.extensions.operations.trace_display import entry_line
from aftercommit.process.application import Application, all_names
from aftercommit.terminal import printing as common
from aftercommit.terminal.escaping import escape_controls, escape_lines
from aftercommit.terminal.nonblocking_output import drain
from aftercommit.terminal.printing import json_line, pluralize

_WIDTH = 40
HEADING = f"{'EVENT_ID':36}  {'HANDLER':24}  {'EVENT':22}  {'ABOUT':{_WIDTH}}  STATE  LAST ERROR"


@click.group(
    commands=[cli_handlers.pause, cli_handlers.resume, cli_handlers.pauses, cli_handlers.decisions]
)
def deliveries() -> None:
    """List, retry, pause, discard and replay deliveries."""


@deliveries.command("list")
@click.option("--parked", "which", flag_value="parked", help="Only parked deliveries.")
@click.option("--scheduled", "which", flag_value="scheduled", help="Only delayed deliveries.")
@click.option("--all", "which", flag_value="all", help="All deliveries, even finished ones.")
@click.option(
    "--lane", metavar="HANDLER:KEY", help="Outstanding deliveries of a lane, in its order."
)
@as_json
@with_application
async def list_deliveries(
    application: Application, which: Which | None, lane: str | None, as_json: bool
) -> None:
    """List outstanding deliveries; delayed ones only when they are due."""
    if which and lane is not None:
        raise click.UsageError("--lane cannot be combined with other choices")
    database = application.database
    async with database.read_transaction() as transaction:
        held = await held_by(transaction, database, application.bus.delivery_store.limits)
        wanted = which or "outstanding"
        rows = listed_deliveries(transaction, database, wanted, lane=lane, held=held)
        lines = _lines(rows, application.handlers)
        await common.print_all((json_line(row) async for row in rows) if as_json else lines)


async def _lines(rows: AsyncIterator[Delivery], known: Collection[str]) -> AsyncIterator[str]:
    """Yield a heading and a line for each row; if there is none, say so on a terminal only."""
    heading = HEADING
    async for row in rows:
        if heading:
            yield fit(heading)
        heading = ""
        unknown = "" if row.handler in known else ", no handler of this program"
        error = (row.last_error or "").partition("\n")[0]
        yield fit(escape_controls(f"{_cells(row)}{unknown}  {error}".rstrip()))
    if heading:
        say_none("no deliveries; --scheduled lists delayed ones, and --all those that are done")


def _cells(row: Delivery) -> str:
    about = escape_controls(row.about or "-")
    about += " " * (_WIDTH - cell_len(about))
    moment = row.completed_at or row.parked_at or row.available_at
    owner = f" by {row.owner}" if row.owner else ""
    state = f"{row.state.replace('_', ' ')} {moment:%FT%TZ}{owner}"
    if row.state == "blocked":
        state = f"blocked by {row.blocked_by} in {escape_controls(row.lane or '')}"
    if row.held_by:
        state = f"{state}, held by {row.held_by}"
    attempts = pluralize(row.attempts, "attempt", "attempts")
    return f"{row.event_id}  {row.handler:24}  {row.event_type:22}  {about}  {state}, {attempts}"


event_id = partial(click.argument, "event_id", type=click.UUID)


@deliveries.command("show")
@event_id()
@handler()
@with_application
async def show_delivery(application: Application, event_id: UUID, handler: str) -> None:
    """Show one delivery, with its history and the data of its event."""
    found = await delivery_admin.delivery(application.database, EventId(event_id), handler)
    row, data, past = found
    history = "\n".join(escape_controls(entry_line(entry)) for entry in past) or None
    for name, value in (msgspec.to_builtins(row) | {"data": data, "history": history}).items():
        text = "-" if value is None else str(value)
        click.echo(f"{name + ':':12} {escape_lines(text, indent=13)}")
    await drain()


@deliveries.command("retry")
@event_id(required=False)
@handler(required=False)
@click.option("--all-parked", is_flag=True, help="Retry all parked deliveries.")
@click.option(
    "--handler", "only", metavar="NAME", help="With --all-parked: only those of this handler."
)
@decided
@click.pass_obj
def retry_delivery(
    cli: Cli,
    event_id: UUID | None,
    handler: str | None,
    all_parked: bool,
    only: str | None,
    decision: Decision,
) -> None:
    """Retry one delivery now, or all parked ones.

    The attempts are counted from zero again. If its handler is paused, the delivery is due when the
    handler is resumed; if an earlier one of its lane is not done, after that.
    """
    if all_parked == (event_id is not None) or (event_id is None) != (handler is None):
        raise click.UsageError("give either EVENT_ID and HANDLER, or --all-parked")
    if only is not None and not all_parked:
        raise click.UsageError("--handler needs --all-parked")

    async def work(application: Application) -> Counter[Readiness]:
        database = application.database
        if event_id is None or handler is None:
            names = only if only is None else all_names(application.handlers, only)
            return await delivery_admin.retry_all_parked(database, decision, names)
        return Counter([await delivery_admin.retry(database, EventId(event_id), handler, decision)])

    retried = cli.run(cli.load_settings(), work)
    if retried["due"] or not retried:
        click.echo(f'{pluralize(retried["due"])} due now; run "{cli.app.program} worker"')
    if paused := retried["paused"]:
        click.echo(f"{pluralize(paused)} due when the handler is resumed")
    if blocked := retried["blocked"]:
        click.echo(f"{pluralize(blocked)} due when earlier deliveries of the lane are done")


@deliveries.command("discard")
@event_id()
@handler()
@decided
@with_application
async def discard_delivery(
    application: Application, event_id: UUID, handler: str, decision: Decision
) -> None:
    """End a delivery for good: its handler will never run it."""
    await delivery_admin.discard(application.database, EventId(event_id), handler, decision)
    click.echo("1 delivery discarded")


@deliveries.command()
@click.argument("handler")
@click.option(
    "--event-type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="Only events of this type; may be repeated.",
)
@duration("--since", help="Only events of the last period, such as 30d.")
@click.option(
    "--again",
    is_flag=True,
    help="Also events it has handled; only for a handler that updates a read model.",
)
@click.option("--allow-side-effects", is_flag=True, help="Allow a handler with external effects.")
@click.option("--dry-run", is_flag=True, help="Only print how many deliveries would be created.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@decided
@click.pass_obj
def replay(
    cli: Cli,
    /,
    handler: str,
    types: tuple[str, ...],
    since: float | None,
    again: bool,
    allow_side_effects: bool,
    decision: Decision,
    **answers: bool,
) -> None:
    """Create the missing deliveries of past events for HANDLER.

    Workers run them when nothing else is due. An interrupted replay can be repeated: no event gets
    a second delivery. Outstanding and discarded deliveries stay as they are. Deploy HANDLER
    everywhere first: events that older processes commit get no delivery for it. Pause an ordered
    HANDLER before, and resume it afterwards.
    """
    settings = cli.load_settings()

    async def look(application: Application) -> tuple[Replay, int]:
        database, bus = application.database, application.bus
        async with database.read_transaction() as transaction:
            now = (await transaction.execute(sa.select(database.clock))).scalar_one()
        begin = 0.0 if since is None else now - since
        wanted = replay_of(bus, handler, types, since=begin, until=now, again=again)
        if again and handler not in application.projections:
            raise NotAProjection(handler)
        if not (allow_side_effects or bus.registry.events[handler].is_transactional):
            raise HasExternalEffects(handler)
        if not answers["dry_run"]:
            await wanted.ensure_possible(database)
        return wanted, await wanted.count(database)

    wanted, number = cli.run(settings, look)
    click.echo(f"{pluralize(number)} of past events to {handler}")
    if answers["dry_run"] or not is_wanted(number, yes=answers["yes"]):
        return
    try:
        with progress("replaying", number) as advance:
            due = cli.run(settings, lambda a: wanted.run(a.database, decision, advance))
    except KeyboardInterrupt as error:
        error.add_note("repeat it: no event gets a second delivery")
        raise
    delay = max(wanted.event_types.values())
    when = f", each due {format_duration(delay)} after its event" if delay else " due now"
    click.echo(f'{pluralize(due)}{when}; run "{cli.app.program} worker"')
