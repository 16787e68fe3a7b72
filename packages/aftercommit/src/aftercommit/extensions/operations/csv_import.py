"""Imports a file of many rows, for a command of an application, in batches of one commit each.

A bad row affects no other. What an interrupted import has committed stays; run it again, and the
handler of the command finds out which rows are known.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
from anyio import to_thread

from aftercommit.cli.command_context import Cli
from aftercommit.cli.error_handling import REFUSED
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import is_permanent
from aftercommit.extensions.operations.cli_parts import progress
from aftercommit.extensions.operations.csv_reader import Row, read_rows
from aftercommit.process.application import Application
from aftercommit.terminal.escaping import escape_controls
from aftercommit.terminal.nonblocking_output import MAX_WAITING, drain
from aftercommit.terminal.printing import pending, pluralize

T = TypeVar("T")

IMPORT = MessageOrigin(source="import")
BATCH_ROWS = 100  # in one commit: more are hardly faster, and block other writers
INLINE_BATCH_ROWS = 10  # all their handlers have the same lease


def import_csv(
    cli: Cli,
    file: Path,
    *,
    columns: Collection[str],
    read: Callable[[Mapping[str, str]], T],
    command: Callable[[Sequence[T]], object],
    imported: type[Any],
    dispatch: str | None = None,
) -> None:
    """Import the rows of a CSV file, show progress, and report what became of them.

    `read` turns the cells of a row into a part of a command, and `command` makes a command of
    several parts. A hundred rows are one command; if it is refused, it has changed nothing, and
    each of its rows becomes a command of its own. A row is refused, and listed with its line, if
    `read` or the row's own command raises a permanent error; the exit code shows this. Any other
    error ends the import. If repeating a command changes nothing, the import can be run again: then
    it imports only the missing rows.

    Each event of the type `imported` counts as a row. Handlers of events are left to workers,
    unless `dispatch` is "inline".

    :raises InvalidValue: if the first line does not name these columns
    """
    settings = cli.load_settings(dispatch=dispatch or "worker")
    inline = settings.dispatch == "inline"
    work = _Import(read, command, imported, inline=inline)
    with (
        progress("importing", file.stat().st_size) as advance,
        read_rows(file, columns, advance=advance) as rows,
    ):
        cli.run(settings, partial(work.run, rows=rows), report=False, delivers=inline)
    counts = work.counts
    known = counts["rows"] - counts["imported"] - counts["refused"]
    click.echo(f"imported {counts['imported']}, already there {known}, refused {counts['refused']}")
    cli.show_pending(work.pending)
    if due := counts["due"]:
        click.echo(f'{pluralize(due)} due; run "{cli.app.program} worker --until-idle"', err=True)
    if counts["refused"]:
        click.get_current_context().exit(REFUSED)


@dataclass
class _Import(Generic[T]):
    """One import, and the counts of its rows by result."""

    read: Callable[[Mapping[str, str]], T]
    command: Callable[[Sequence[T]], object]
    imported: type[Any]
    inline: bool  # handlers of events run here, not in a worker
    counts: Counter[str] = field(default_factory=Counter)
    pending: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def run(self, application: Application, rows: Iterator[Row]) -> None:
        """Import all rows; what is committed stays, whatever happens later."""
        size = INLINE_BATCH_ROWS if self.inline else BATCH_ROWS
        while batch := await to_thread.run_sync(lambda: list(islice(rows, size))):
            refused, parts = dict[int, object](), dict[int, T]()
            for row in batch:
                try:
                    if row.problem:
                        refused[row.line] = row.problem
                    else:
                        parts[row.line] = self.read(row.cells)
                except Exception as error:
                    refused[row.line] = _refusal(error)
            refused |= await self._import(application, parts)
            self.counts["rows"] += len(batch)
            self.counts["refused"] += len(refused)
            for line in sorted(refused):
                click.echo(escape_controls(f"line {line}: {refused[line]}"), err=True)
            await drain(MAX_WAITING // 2)

    async def _import(self, application: Application, parts: Mapping[int, T]) -> dict[int, object]:
        """Import these rows in one command if possible; return why some were refused."""
        refused = dict[int, object]()
        try:
            if parts:
                await self._execute(application, [*parts.values()])
        except Exception as error:
            _refusal(error)
            for line, part in parts.items():
                try:
                    await self._execute(application, [part])
                except Exception as error:
                    refused[line] = _refusal(error)
        return refused

    async def _execute(self, application: Application, parts: Sequence[T]) -> None:
        """Execute one command; dispatch its events, if that is done here."""
        bus = application.bus
        committed = await bus.execute(self.command(parts), IMPORT)
        events = [envelope.event for envelope in committed.events]
        self.counts["imported"] += sum(isinstance(event, self.imported) for event in events)
        if self.inline:
            self.pending.update(pending((await bus.run(committed.claims)).failures))
        else:
            subscribed = bus.envelopes.subscriptions
            self.counts["due"] += sum(len(subscribed.get(type(each), ())) for each in events)


def _refusal(error: Exception) -> Exception:
    """Return the error for which a row is refused.

    :raises Exception: any other error, which ends the import
    """
    if not is_permanent(error):
        raise error
    return error
