"""The command `import-users`: sends a command of the domain for each chunk of a file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import click
from aftercommit import App, Application, CommandLine, MessageOrigin
from aftercommit.cli.error_handling import REFUSED
from aftercommit.extensions.operations.cli_parts import progress
from aftercommit.terminal.escaping import escape_controls
from aftercommit.terminal.nonblocking_output import MAX_WAITING, drain
from aftercommit.terminal.printing import pending, pluralize
from anyio import to_thread

from allocation.config import Settings
from allocation.user_import.model import (
    ImportedRow,
    ImportUsers,
    NobodyImported,
    RefusedRow,
    UsersImported,
)
from allocation.user_import.users_csv import Row, read_rows

IMPORT = MessageOrigin(source="import")
CHUNK_ROWS = 100  # with one commit: more are hardly faster, and keep other writers waiting
INLINE_CHUNK_ROWS = 10  # all their handlers have one lease


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dispatch",
    type=click.Choice(["inline", "worker"]),
    help="Who runs the handlers of the events: this command, or workers. Default: worker",
)
@click.pass_obj
def import_users(cli: CommandLine[Settings], file: Path, dispatch: str | None) -> None:
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


@dataclass
class Import:
    """One import, and how many of its rows came out how."""

    app: App[Any]
    dispatches: bool  # handlers of events run here, not in workers
    counts: Counter[str] = field(default_factory=Counter)
    pending: Counter[tuple[str, str]] = field(default_factory=Counter)
    id: UUID = field(default_factory=uuid4)

    async def run(self, application: Application, rows: Iterator[Row]) -> None:
        """Import all rows; what is committed stays, whatever happens after it."""
        size = INLINE_CHUNK_ROWS if self.dispatches else CHUNK_ROWS
        while chunk := await to_thread.run_sync(lambda: list(islice(rows, size))):
            refused = [row for row in chunk if isinstance(row, RefusedRow)]
            if read := tuple(row for row in chunk if isinstance(row, ImportedRow)):
                refused += await self._execute(application, read)
            await self._report(refused)
            self.counts["rows"] += len(chunk)

    async def _execute(
        self, application: Application, rows: tuple[ImportedRow, ...]
    ) -> Sequence[RefusedRow]:
        """Execute one command, and what follows from it; return the rows that were refused."""
        bus, command = application.bus, ImportUsers(import_id=self.id, rows=rows)
        try:
            committed = await bus.execute(command, IMPORT)
        except NobodyImported as error:
            return error.refused
        if self.dispatches:
            self.pending.update(pending((await bus.run(committed.claims)).failures))
        else:
            subscribed, events = bus.envelopes.subscriptions, committed.events
            self.counts["due"] += sum(len(subscribed.get(type(each.event), ())) for each in events)
        for event in (envelope.event for envelope in committed.events):
            if isinstance(event, UsersImported):
                self.counts["imported"] += event.registered
                return event.refused
        return ()

    def conclude(self) -> None:
        """Say how many rows came out how, and what is left to do."""
        imported, refused = self.counts["imported"], self.counts["refused"]
        known = self.counts["rows"] - imported - refused
        click.echo(f"imported {imported}, already there {known}, refused {refused}")
        self.app.show_pending(self.pending)
        if due := self.counts["due"]:
            click.echo(f'{pluralize(due)} due; run "{self.app.name} worker --until-idle"', err=True)

    async def _report(self, refused: Sequence[RefusedRow]) -> None:
        self.counts["refused"] += len(refused)
        for row in sorted(refused, key=lambda row: row.line):
            click.echo(escape_controls(f"line {row.line}: {row.reason}"), err=True)
        await drain(MAX_WAITING // 2)
