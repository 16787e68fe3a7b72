"""The commands: what they take, and what they print. Those about deliveries are beside it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import sqlalchemy as sa
from rich.table import Table
from rich.text import Text

from allocation.adapters.orm import coupon_batches as batches
from allocation.application import Application
from allocation.domain.events import UserId
from allocation.extensions.operations import causation_queries
from allocation.extensions.operations.batched_transactions import count_rows
from allocation.extensions.operations.causation_queries import TraceQuery, trace_query
from allocation.extensions.operations.cli_deliveries import deliveries
from allocation.extensions.operations.cli_parts import (
    NamedCommand,
    as_json,
    is_wanted,
    progress,
    with_application,
)
from allocation.extensions.operations.command_history import (
    COUNTED,
    MAX_ROWS,
    AcceptedCommand,
    latest_commands,
)
from allocation.extensions.operations.erase_user import (
    erase,
    find_person,
    handlers_with_effects,
)
from allocation.extensions.operations.import_users import Import
from allocation.extensions.operations.kept_emails import remove_emails
from allocation.extensions.operations.rebuild_users import ALL_USERS, rebuild
from allocation.extensions.operations.retention import old_events, prune
from allocation.extensions.operations.times import duration, format_duration
from allocation.extensions.operations.trace_display import (
    display,
    plain_lines,
    print_each,
    short_id,
    show,
)
from allocation.extensions.operations.users_csv import read_rows
from allocation.process import printing as common
from allocation.process.app import Cli
from allocation.process.error_handling import REFUSED
from allocation.process.nonblocking_output import drain
from allocation.process.printing import json_line, pluralize
from allocation.process.terminal_escaping import escape_controls

commands = click.Group(commands={"deliveries": deliveries})


@commands.command()
@as_json
@with_application
async def coupon_batches(application: Application, as_json: bool) -> None:
    """List the coupon batches, and how many coupons are left.

    The batches come in the order in which they are used up. Pending deliveries of
    allocate_welcome_coupon have not taken their coupons yet.
    """
    reference = sa.type_coerce(batches.c.reference, sa.String).label("reference")
    every = sa.select(reference, batches.c.quantity, batches.c.remaining).order_by(reference)
    if not as_json:
        click.echo(f"{'REFERENCE':20}  REMAINING  QUANTITY")
    async with application.database.read_transaction() as transaction:
        rows = transaction.stream(every)
        await common.print_all(json_line(r._asdict()) if as_json else _batch(r) async for r in rows)


def _batch(row: sa.Row[Any]) -> str:
    return escape_controls(f"{row.reference:20}  {row.remaining:9}  {row.quantity}")


@commands.command()
@click.option(
    "--failed",
    is_flag=True,
    help="Only commands with a parked delivery, or one that waits for a retry.",
)
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=20, help="How many. Default: 20")
@as_json
@with_application
async def history(application: Application, failed: bool, limit: int, as_json: bool) -> None:
    """List the latest commands, and how far each has come.

    The newest come first. Each row shows how many deliveries of the command's events are done,
    discarded, pending, parked, or scheduled for later; and how long it took until none was pending.
    """
    rows = await latest_commands(application.database, limit=limit, failed_only=failed)
    if rows:
        await print_each(map(json_line, rows) if as_json else plain_lines(history_table(rows)))
    await drain()


def history_table(rows: Sequence[AcceptedCommand]) -> Table:
    """Return a table of commands, with its headings."""
    headings = ("ACCEPTED", "COMMAND", "ABOUT", "ID", "DELIVERIES")
    table = Table(*headings, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for row in rows:
        table.add_row(*(Text(escape_controls(cell)) for cell in _cells(row)))  # no markup, no emoji
    return table


def _cells(row: AcceptedCommand) -> Sequence[str]:
    counts = ((getattr(row, state), state) for state in COUNTED)
    states = ", ".join(f"{count} {state}" for count, state in counts if count)
    took = "" if row.seconds is None else f" in {format_duration(row.seconds)}"
    return f"{row.accepted_at:%F %T}Z", row.type, row.about, short_id(row.id), states + took


@commands.command()
@click.argument("query", metavar="ID", callback=lambda ctx, param, text: trace_query(text))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a node and line.")
@click.option(
    "--follow", is_flag=True, help="Go on until all is done, parked, paused or for later."
)
@with_application
async def trace(application: Application, query: TraceQuery, as_json: bool, follow: bool) -> None:
    """Show everything that a command has caused.

    ID is the id of a trace (the correlation id), a command, an event or a user; its first eight
    digits are enough. Or it is the e-mail address that a user has now. Of more than 100 traces, the
    newest 100 are shown, with at most 5,000 attempts.
    """
    with display(as_json=as_json) as changes:
        is_whole = await show(application.database, query, changes, follow=follow)
    if not is_whole:
        most = f"{causation_queries.MAX_ROWS:,}"
        click.echo(f"not all is shown: there are more than {most} attempts or commands", err=True)
    await drain()


@commands.command()
@with_application
async def rebuild_users(application: Application) -> None:
    """Rebuild the list of users from the stored users.

    Other commands may run meanwhile. No events are needed, so they may have been pruned.
    """
    with progress("rebuilding", await count_rows(application.database, ALL_USERS)) as advance:
        count = await rebuild(application.database, advance)
    click.echo(f"{pluralize(count, 'user', 'users')} rebuilt")


@commands.command()
@click.argument("user_id", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def erase_user(cli: Cli, user_id: UUID, yes: bool) -> None:
    """Erase the name and all addresses of a user, for good.

    They are erased from the database and from the folder of e-mails that are kept; what happened,
    and when, stays. E-mails that are still to be sent are discarded. Logs, backups, e-mails that
    were sent and other services keep what they have. Running the command again does no harm.
    """
    settings, user_id = cli.load_settings(), UserId(user_id)
    person = cli.run(settings, lambda a: find_person(a.database, user_id))
    outstanding = pluralize(person.outstanding, "outstanding delivery", "outstanding deliveries")
    events = pluralize(len(person.event_ids), "event", "events")
    click.echo(f"user {user_id}: {events}, {outstanding}; this cannot be undone")
    if not is_wanted(1, yes=yes):
        return
    folder, kept = settings.mail_folder, 0
    if folder:  # both times: until it is erased, more may come
        kept += remove_emails(Path(folder), person)

    async def work(application: Application) -> int:
        effects = handlers_with_effects(application.handlers, application.bus.registry.events)
        return await erase(application.database, user_id, effects)

    discarded = cli.run(settings, work)
    if folder:
        kept += remove_emails(Path(folder), person)
    emails = pluralize(kept, "kept e-mail", "kept e-mails")
    click.echo(f"erased, with {emails}; {pluralize(discarded)} discarded")


@commands.group("events")
def event_history() -> None:
    """Prune the history of events."""


@event_history.command("prune", cls=NamedCommand)
@duration("--older-than", required=True, help="Such as 30d, 12h, 15m or 45s.")
@with_application
async def prune_events(application: Application, older_than: float) -> None:
    """Delete old events with their deliveries, and old commands.

    Events with an outstanding delivery are kept. Once a command is deleted, a repeated message with
    its id is executed again. Workers prune by themselves if {prefix}_RETENTION_DAYS is set.
    """
    database = application.database
    length = await count_rows(database, old_events(database, older_than))
    with progress("pruning", length) as advance:
        count = await prune(database, older_than=older_than, advance=advance)
    click.echo(f"{pluralize(count, 'event', 'events')} deleted")


@commands.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dispatch",
    type=click.Choice(["inline", "worker"]),
    help="Who runs the handlers of the events: this command, or workers. Default: worker",
)
@click.pass_obj
def import_users(cli: Cli, file: Path, dispatch: str | None) -> None:
    """Register the users of a CSV file.

    It has the columns name,email. Running the command again imports only what is missing.
    """
    settings = cli.load_settings(dispatch=dispatch or "worker")
    inline = settings.dispatch == "inline"
    work, length = Import(cli.app, dispatches=inline), file.stat().st_size
    with (
        progress("importing", length) as advance,
        read_rows(file, advance=advance) as rows,
    ):
        cli.run(settings, partial(work.run, rows=rows), report=False, delivers=inline)
    work.conclude()
    if work.counts["refused"]:
        click.get_current_context().exit(REFUSED)
