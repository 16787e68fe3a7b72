"""The commands `history`, `trace` and `events`: what they accept, and what they print."""

from collections.abc import Sequence

import click
from rich.table import Table
from rich.text import Text

from aftercommit.cli.command_context import Cli
from aftercommit.extensions.old_events import old_events
from aftercommit.extensions.operations import OperationsExtension, trace_queries
from aftercommit.extensions.operations.batched_transactions import count_rows
from aftercommit.extensions.operations.cli_parts import (
    NamedCommand,
    as_json,
    decided,
    print_each,
    progress,
    say_none,
    with_application,
)
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.latest_commands import (
    COUNTED,
    MAX_ROWS,
    AcceptedCommand,
    latest_commands,
)
from aftercommit.extensions.operations.retention import prune
from aftercommit.extensions.operations.times import duration, format_duration
from aftercommit.extensions.operations.trace_display import (
    display,
    plain_lines,
    short_id,
    show,
)
from aftercommit.extensions.operations.trace_queries import (
    TraceQuery,
    message_query,
    trace_query,
)
from aftercommit.process.application import Application
from aftercommit.terminal.escaping import escape_controls
from aftercommit.terminal.nonblocking_output import drain
from aftercommit.terminal.printing import json_line, pluralize

NO_COMMANDS = "no commands, and no events that an Outbox has recorded"

commands = click.Group()


@commands.command()
@click.option(
    "--failed",
    is_flag=True,
    help="Only commands with a parked or retrying delivery.",
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_ROWS), default=20, help="How many to show. Default: 20"
)
@as_json
@with_application
async def history(application: Application, failed: bool, limit: int, as_json: bool) -> None:
    """List the latest commands, and how far each has come.

    With an Outbox, the events that it has recorded are listed. The newest come first. Each row
    shows how many deliveries of the command's events are done, discarded, pending, parked, or
    scheduled, and the time until none was pending.
    """
    rows = await latest_commands(application.database, limit=limit, failed_only=failed)
    first = "COMMAND" if application.bus.registry.commands else "EVENT"
    if rows:
        await print_each(
            map(json_line, rows) if as_json else plain_lines(history_table(rows, first))
        )
    else:
        say_none(NO_COMMANDS)
    await drain()


def history_table(rows: Sequence[AcceptedCommand], what: str) -> Table:
    """Return a table of commands or events, with headings."""
    headings = ("ACCEPTED", what, "ABOUT", "ID", "DELIVERIES")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for heading in headings:  # on a terminal that is too narrow for all, these two are folded
        table.add_column(heading, no_wrap=heading not in ("ABOUT", "DELIVERIES"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape_controls(cell)) for cell in _cells(row)))  # no markup, no emoji
    return table


def _cells(row: AcceptedCommand) -> Sequence[str]:
    counts = ((getattr(row, state), state) for state in COUNTED)
    states = ", ".join(f"{count} {state}" for count, state in counts if count)
    took = "" if row.seconds is None else f" in {format_duration(row.seconds)}"
    return f"{row.accepted_at:%F %T}Z", row.type, row.about, short_id(row.id), states + took


def _query(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> TraceQuery:
    if len(texts) > 2:
        raise click.UsageError("give one ID, or SOURCE and MESSAGE_ID")
    if len(texts) == 2:
        return message_query(*texts)
    cli: Cli = ctx.obj
    return trace_query(texts[0], cli.app.extension(OperationsExtension).find_subjects)


@commands.command()
@click.argument("query", metavar="[SOURCE] ID", nargs=-1, required=True, callback=_query)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for each node.")
@click.option(
    "--follow", is_flag=True, help="Continue until everything is done, parked, paused or scheduled."
)
@with_application
async def trace(application: Application, query: TraceQuery, as_json: bool, follow: bool) -> None:
    """Show everything that a command has caused.

    ID is the id of a trace (the correlation id), a command, an event or its subject; its first
    eight digits are enough. It may also be a text by which the application finds subjects, such as
    a name. At most the newest 100 traces are shown, with at most 5,000 attempts.

    For a message from another service, give two texts: its SOURCE and its ID.
    """
    with display(as_json=as_json) as changes:
        is_whole = await show(application.database, query, changes, follow=follow)
    if not is_whole:
        most = f"{trace_queries.MAX_ROWS:,}"
        click.echo(
            f"the tree is not complete: there are more than {most} attempts or commands", err=True
        )
    await drain()


@commands.group()
def events() -> None:
    """Prune the history of events."""


@events.command("prune", cls=NamedCommand)
@duration("--older-than", required=True, help="The age, such as 30d, 12h, 15m or 45s.")
@decided
@with_application
async def prune_events(application: Application, older_than: float, decision: Decision) -> None:
    """Delete old events with their deliveries, and old commands.

    Events with an outstanding delivery are kept. Once a command is deleted, a repeated message with
    its id is executed again. Workers prune on their own if {prefix}_RETENTION_DAYS is set.
    """
    database = application.database
    length = await count_rows(database, old_events(database, older_than))
    with progress("pruning", length) as advance:
        count = await prune(database, older_than=older_than, decision=decision, advance=advance)
    click.echo(f"{pluralize(count, 'event', 'events')} deleted")
