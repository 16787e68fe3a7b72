"""The commands about the limits of handlers."""

import click

from aftercommit.extensions.operations import limit_admin
from aftercommit.extensions.operations.cli_parts import (
    as_json,
    decided,
    print_rows,
    with_application,
)
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.limit_admin import HandlerLimit
from aftercommit.extensions.operations.times import format_duration
from aftercommit.process.application import Application

number = click.IntRange(min=1)


@click.group()
def limits() -> None:
    """List the limits of handlers, and change their numbers."""


@limits.command("list")
@as_json
@with_application
async def list_limits(application: Application, as_json: bool) -> None:
    """List limits: what is running, what may begin now, what is held, and for which handlers."""
    database, of = application.database, application.bus.delivery_store.limits
    async with database.read_transaction() as transaction:
        rows = await limit_admin.handler_limits(transaction, database, of)
    await print_rows(rows, _line, as_json=as_json, none="no limits; a handler with Limited has one")


def _line(row: HandlerLimit) -> str:
    numbers = limit_admin.in_words(row.set_at_once, row.set_per_minute)
    own = f"  set by an operator: {numbers}" if numbers else ""
    takes = f" for {format_duration(row.held_seconds)} or more" if row.held_seconds else ""
    return f"{row.name:24}  {row.use}  {row.held} held{takes}  {', '.join(row.handlers)}{own}"


@limits.command("set")
@click.argument("name")
@click.option("--at-once", type=number, help="How many deliveries may run at once.")
@click.option("--per-minute", type=number, help="How many deliveries may begin in a minute.")
@decided
@with_application
async def set_limit(
    application: Application,
    name: str,
    at_once: int | None,
    per_minute: int | None,
    decision: Decision,
) -> None:
    """Set the numbers of the limit NAME, from now on in place of those of the program.

    Running deliveries go on. A number that is not given stays unchanged.
    """
    given = {"at_once": at_once, "per_minute": per_minute}
    numbers = {key: value for key, value in given.items() if value is not None}
    if not numbers:
        raise click.UsageError("give --at-once or --per-minute, or both")
    of = application.bus.delivery_store.limits
    await limit_admin.set_limit(application.database, of, name, decision, numbers)
    click.echo(f"{name} is set")


@limits.command("reset")
@click.argument("name")
@decided
@with_application
async def reset_limit(application: Application, name: str, decision: Decision) -> None:
    """Use the program's own numbers for the limit NAME again."""
    of, numbers = application.bus.delivery_store.limits, {"at_once": None, "per_minute": None}
    await limit_admin.set_limit(application.database, of, name, decision, numbers)
    click.echo(f"{name} has the numbers of the program")
