"""The commands about what handlers still owe."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import click
import msgspec

from allocation.adapters.operations import decisions, views
from allocation.bootstrap import Application
from allocation.entrypoints.cli.application import (
    Options,
    counted,
    json_line,
    print_all,
    set_up,
)
from allocation.entrypoints.operations.replay import replay
from allocation.entrypoints.output import output, printable, say
from allocation.entrypoints.running import with_application
from allocation.service_layer.envelopes import EventId


class HandlerName(click.ParamType[str]):
    """The name of a handler, perhaps of one that no longer exists."""

    name = "handler"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name."""
        return value if value.isidentifier() else self.fail(f"{value!r} is no name", param, ctx)


@click.group()
def deliveries() -> None:
    """Look at what handlers still owe, and decide about what is parked."""


deliveries.add_command(replay)


@deliveries.command("list")
@click.option("--parked", is_flag=True, help="Only those that need a decision.")
@click.option("--all", "finished_too", is_flag=True, help="Those that are done, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_deliveries(options: Options, parked: bool, finished_too: bool, as_json: bool) -> None:
    """List the deliveries that are owed: first those to be tried, the longest due first."""
    if parked and finished_too:
        raise click.UsageError("give either --parked or --all")

    async def work(application: Application) -> None:
        async with views.listed_deliveries(
            application.database, parked_only=parked, finished_too=finished_too
        ) as rows:
            await print_all(
                json_line(row) if as_json else _line(row, application.handlers)
                async for row in rows
            )

    with_application(set_up(options), work)


@deliveries.command("show")
@click.argument("event_id", type=click.UUID)
@click.argument("handler", type=HandlerName())
@click.pass_obj
def show_delivery(options: Options, event_id: UUID, handler: str) -> None:
    """Show one delivery, with the data of its event."""

    async def work(application: Application) -> None:
        row = await views.delivery(application.database, EventId(event_id), handler)
        fields = msgspec.to_builtins(row).items()
        click.echo("\n".join(_field_line(name, value) for name, value in fields))
        await output().keep_pace(to_the_end=True)

    with_application(set_up(options), work)


@deliveries.command("retry")
@click.argument("event_id", type=click.UUID, required=False)
@click.argument("handler", type=HandlerName(), required=False)
@click.option("--all-parked", is_flag=True, help="Retry everything that is parked.")
@click.pass_obj
def retry_delivery(
    options: Options, event_id: UUID | None, handler: str | None, all_parked: bool
) -> None:
    """Make a delivery due at once, with all its attempts before it; a worker then does it."""
    if all_parked == (event_id is not None) or (event_id is None) != (handler is None):
        raise click.UsageError("give either EVENT_ID and HANDLER, or --all-parked")

    async def work(application: Application) -> int:
        if event_id is None or handler is None:
            return await decisions.retry_all_parked(application.database)
        await decisions.retry(application.database, EventId(event_id), handler)
        return 1

    count = with_application(set_up(options), work)
    say(f'{counted(count)} due now; run "allocation worker"')


@deliveries.command("discard")
@click.argument("event_id", type=click.UUID)
@click.argument("handler", type=HandlerName())
@click.pass_obj
def discard_delivery(options: Options, event_id: UUID, handler: str) -> None:
    """Forget a delivery for good: its handler will never do this work.

    Before that, "trace EVENT_ID" says whom it is about.
    """

    async def work(application: Application) -> None:
        await decisions.discard(application.database, EventId(event_id), handler)

    with_application(set_up(options), work)
    say("1 delivery discarded")


def _line(row: views.DeliveryRow, known: Collection[str]) -> str:
    unknown = "" if row.handler in known else ", no handler of this program"
    error = (row.last_error or "").partition("\n")[0]
    return printable(
        f"{row.event_id}  {row.handler}  ({row.event_type})  "
        f"attempts {row.attempts}, {_state(row)}{unknown}  {error}"
    )


def _state(row: views.DeliveryRow) -> str:
    if row.finished_at:
        return f"done {row.finished_at:%FT%TZ}"
    held = f", held by {row.process}" if row.process else ""
    return "parked" if row.parked_at else f"due {row.due_at:%FT%TZ}{held}"


def _field_line(name: str, value: object) -> str:
    text = "-" if value is None else str(value)
    return f"{name + ':':12} " + "\n".join(map(printable, text.split("\n")))
