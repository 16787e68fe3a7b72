"""Imports the rows of a file of users, a command of the domain for each chunk of it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

import click
from anyio import to_thread

from allocation.application import Application
from allocation.domain.commands import ImportedRow, ImportUsers
from allocation.domain.events import RefusedRow, UsersImported
from allocation.domain.user_imports import NobodyImported
from allocation.extensions.operations.users_csv import Row
from allocation.process.app import App
from allocation.process.nonblocking_output import MAX_WAITING, drain
from allocation.process.printing import pending, pluralize
from allocation.process.terminal_escaping import escape_controls
from allocation.service_layer.envelopes import MessageOrigin

IMPORT = MessageOrigin(source="import")
CHUNK_ROWS = 100  # with one commit: more are hardly faster, and keep other writers waiting
INLINE_CHUNK_ROWS = 10  # all their handlers have one lease


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
            self.pending.update(pending((await bus.run_deliveries(committed.claims)).failures))
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
