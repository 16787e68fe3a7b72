"""The command that lists the latest commands, and what has become of what they caused."""

from collections.abc import AsyncIterator, Iterator, Sequence

import click

from allocation.adapters.operations import history as queries
from allocation.adapters.operations.history import HistoryRow
from allocation.bootstrap import Application
from allocation.entrypoints.cli.application import Options, json_line, print_all, set_up
from allocation.entrypoints.operations.drawing import abbreviated, columns, span
from allocation.entrypoints.output import printable
from allocation.entrypoints.running import with_application

MAX_ROWS = 1000
JSON_KEYS = (
    "id",
    "type",
    "source",
    "correlation_id",
    "accepted_at",
    "done",
    "discarded",
    "waiting",
    "parked",
    "seconds",
)


@click.command()
@click.option(
    "--failed", is_flag=True, help="Only those with something parked, or failed and waiting."
)
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=20, help="How many. Default: 20")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def history(options: Options, failed: bool, limit: int, as_json: bool) -> None:
    """List the latest commands, the newest first, and how much of what they caused is done.

    Of each: when it was accepted, what it was and about whom, its id, how many deliveries are done,
    discarded by hand, waiting (or in hand) and parked, and how long it took until none was waiting.
    """

    async def work(application: Application) -> None:
        rows = await queries.history(application.database, limit=limit, failed_only=failed)
        await print_all(_each(map(_as_json, rows) if as_json else lines(rows)))

    with_application(set_up(options), work)


def lines(rows: Sequence[HistoryRow]) -> Iterator[str]:
    """Yield a line for each row, with its cells below those of the others."""
    table = [_cells(row) for row in rows]
    widths = [max(map(columns, cells)) for cells in zip(*table, strict=True)]
    for cells in table:
        padded = (
            f"{cell}{' ' * (w - columns(cell))}" for cell, w in zip(cells, widths, strict=True)
        )
        yield "  ".join(padded).rstrip()


def _cells(row: HistoryRow) -> list[str]:
    counts = {
        "done": row.done - row.discarded,
        "discarded": row.discarded,
        "waiting": row.waiting,
        "parked": row.parked,
    }
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    took = "" if row.seconds is None else f" in {span(row.seconds)}"
    when = f"{row.accepted_at:%F %T}Z"
    return [when, printable(row.type), printable(row.about), abbreviated(row.id), told + took]


def _as_json(row: HistoryRow) -> bytes:
    return json_line({key: getattr(row, key) for key in JSON_KEYS})


async def _each(texts: Iterator[str] | Iterator[bytes]) -> AsyncIterator[str | bytes]:
    for text in texts:
        yield text
