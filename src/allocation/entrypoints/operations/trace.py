"""The command that shows what became of a command: the tree of all that it caused."""

import sys
from collections.abc import Iterator, Sequence
from shutil import get_terminal_size
from typing import Protocol

import click

from allocation.adapters.database import Database
from allocation.adapters.operations import traces
from allocation.adapters.operations.traces import SomeId, Sought
from allocation.adapters.operations.trees import TraceNode
from allocation.bootstrap import Application
from allocation.domain.values import EmailAddress
from allocation.entrypoints.cli.application import Options, json_line, set_up
from allocation.entrypoints.operations.drawing import drawn
from allocation.entrypoints.output import output
from allocation.entrypoints.running import StopSignal, with_application

POLL_SECONDS = 0.5  # how long news may go unseen: that a delivery was settled, nobody is told
JSON_KEYS = (
    "kind",
    "id",
    "parent",
    "name",
    "state",
    "attempts",
    "seconds",
    "process",
    "due_at",
    "finished_at",
    "error",
)


class Display(Protocol):
    """Shows a trace, and later what has changed since."""

    def news(self, nodes: Sequence[TraceNode], *, settled: bool) -> Iterator[str | bytes]:
        """Yield what has to be printed."""


@click.command()
@click.argument("about", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a node and line.")
@click.option("--follow", is_flag=True, help="Go on until all is done or parked.")
@click.pass_obj
def trace(options: Options, about: str, as_json: bool, follow: bool) -> None:
    """Show what a command has caused, and what became of each delivery.

    ID is that of a story (the correlation id), a command, an event or a user, or its first eight
    digits; or the e-mail address that a user has now. If it is part of more than 100 stories, the
    newest 100 are shown.
    """
    sought = EmailAddress(about) if "@" in about else SomeId(about)
    display = _display(as_json=as_json, follow=follow)

    async def work(application: Application) -> None:
        if follow:
            await show_until_settled(application.database, sought, display)
        else:
            await _show(display, await traces.trace(application.database, sought), settled=True)

    with_application(set_up(options), work)


async def show_until_settled(database: Database, sought: Sought, display: Display) -> None:
    """Show a trace, and what changes in it, until nothing in it waits or is in hand.

    :raises TraceNotFound: if there is none
    """
    pause, settled = StopSignal(), False
    async with database.listening(pause.wake):
        while not settled:
            nodes = await traces.trace(database, sought)
            settled = all(node.is_settled for node in nodes)
            await _show(display, nodes, settled=settled)
            if not settled:
                await pause.sleep(POLL_SECONDS)


async def _show(display: Display, nodes: Sequence[TraceNode], *, settled: bool) -> None:
    for text in display.news(nodes, settled=settled):
        click.echo(text)
        await output().keep_pace()
    await output().keep_pace(to_the_end=settled)


def _display(*, as_json: bool, follow: bool) -> Display:
    if as_json:
        return JsonLines()
    on_terminal = bool(sys.stdout and sys.stdout.isatty())
    return Redrawn() if on_terminal and follow else Printed(wrapped=on_terminal)


class JsonLines:
    """One object for each node that is new or has changed."""

    def __init__(self) -> None:
        self._shown: dict[str, TraceNode] = {}

    def news(self, nodes: Sequence[TraceNode], *, settled: bool) -> Iterator[str | bytes]:
        """Yield their lines."""
        yield from (_as_json(node) for node in nodes if self._shown.get(node.id) != node)
        self._shown = {node.id: node for node in nodes}


class Printed:
    """The whole tree, and anew, after an empty line, when it has changed."""

    def __init__(self, *, wrapped: bool) -> None:
        self._wrapped = wrapped
        self._shown: Sequence[TraceNode] = ()

    def news(self, nodes: Sequence[TraceNode], *, settled: bool) -> Iterator[str | bytes]:
        """Yield its lines."""
        if nodes == self._shown:
            return
        if self._shown:
            yield ""
        yield from drawn(nodes, width=get_terminal_size().columns if self._wrapped else None)
        self._shown = nodes


class Redrawn:
    """The tree, each time in the place of the one before; of a high one the end, until all is over.

    The terminal must not wrap lines meanwhile, or nobody would know how many there are.
    """

    def __init__(self) -> None:
        self._height = 0

    def news(self, nodes: Sequence[TraceNode], *, settled: bool) -> Iterator[str | bytes]:
        """Yield one text with all lines."""
        size = get_terminal_size()
        lines = list(drawn(nodes, width=size.columns))
        up = f"\x1b[{self._height}F" if self._height else ""
        shown = lines if settled else lines[-(size.lines - 1) :]
        self._height = len(shown)
        yield "\n".join([f"\x1b[?7l{up}\x1b[J{shown[0]}", *shown[1:]]) + "\x1b[?7h"


def _as_json(node: TraceNode) -> bytes:
    failures = {"failures": node.failures} if node.kind == "delivery" else {}
    return json_line({key: getattr(node, key) for key in JSON_KEYS} | failures)
