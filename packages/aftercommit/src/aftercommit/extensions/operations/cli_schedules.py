"""The commands about schedules."""

import click

from aftercommit.extensions.operations import schedule_admin
from aftercommit.extensions.operations.cli_parts import (
    as_json,
    decided,
    print_rows,
    with_application,
)
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.schedule_states import ScheduleState, read_schedules
from aftercommit.process.application import Application


@click.group()
def schedules() -> None:
    """List schedules, and forget those that were removed."""


@schedules.command("list")
@as_json
@with_application
async def list_schedules(application: Application, as_json: bool) -> None:
    """List schedules: the next time of each, the last one, and what was missed before it."""
    database = application.database
    async with database.read_transaction() as transaction:
        rows = await read_schedules(transaction, database, application.every)
    none = "no schedules; each Every of the application is one"
    await print_rows(rows, _line, as_json=as_json, none=none)


def _line(row: ScheduleState) -> str:
    what = f"{row.name:24}  {row.cron}  {row.tz}"
    trace = f"  trace {row.correlation_id}" if row.correlation_id else ""
    return f"{what}  {schedule_admin.in_words(row)}{trace}"


@schedules.command("forget")
@click.argument("name")
@decided
@with_application
async def forget_schedule(application: Application, name: str, decision: Decision) -> None:
    """Forget the last time of the schedule NAME, which the program no longer has."""
    await schedule_admin.forget(application, name, decision)
    click.echo(f"{name} is forgotten")
