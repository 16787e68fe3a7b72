"""Shows a trace as a tree, once or until nothing in it is pending."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import anyio
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from aftercommit.database.database import Database
from aftercommit.extensions.operations import trace_queries
from aftercommit.extensions.operations.causation_tree import HistoryEntry, Node
from aftercommit.extensions.operations.cli_parts import is_terminal, print_each
from aftercommit.extensions.operations.times import format_duration
from aftercommit.extensions.operations.trace_queries import MIN_PREFIX, TraceQuery, Traces
from aftercommit.terminal.escaping import escape_controls
from aftercommit.terminal.nonblocking_output import drawing
from aftercommit.terminal.printing import json_line

POLL_SECONDS = 0.5  # no process notifies when it has completed a delivery
# how an attempt has ended, in the words of the glossary
SHOWN_AS: Mapping[str, str] = {"lease_expired": "failed", "superseded": "revoked"}

Changes = Callable[[Traces], Iterable[str | bytes]]
"""Draws traces, or returns the lines that have changed since the last call."""


async def show(
    database: Database, query: TraceQuery, changes: Changes, *, follow: bool = True
) -> bool:
    """Show a trace and, with `follow`, its changes; return whether all of it was shown.

    :raises TraceNotFound: if there is no such trace
    """
    while True:
        found = await trace_queries.find_traces(database, query)
        await print_each(changes(found))
        if not follow or all(node.is_settled for node in found.nodes):
            return found.is_whole
        await anyio.sleep(POLL_SECONDS)


@contextmanager
def display(*, as_json: bool = False) -> Iterator[Changes]:
    """Open the display: on a terminal in one place, where the whole trace stays at the end.

    Without a terminal, it is text, printed again after each change; or JSON, an object for each new
    or changed node.
    """
    shown: dict[str, Node] = {}

    def changes(found: Traces) -> Iterable[str | bytes]:
        new, is_first = [node for node in found.nodes if shown.get(node.id) != node], not shown
        shown.update((node.id, node) for node in new)
        if as_json:
            return map(json_line, new)
        return [*([] if is_first else [""]), *plain_lines(render_tree(found))] if new else []

    if as_json or not is_terminal():
        yield changes
        return
    live = Live(console=Console(), auto_refresh=False, vertical_overflow="crop")
    with drawing(sys.stdout), live as place:

        def redraw(found: Traces) -> Iterable[str]:
            place.update(render_tree(found), refresh=True)
            return ()

        try:
            yield redraw
        finally:
            place.vertical_overflow = "visible"


def render_tree(found: Traces) -> Tree:
    """Return a tree of nodes that come depth first. A delivery's history is below it."""
    root = Tree("", hide_root=True, guide_style="dim")
    branches: dict[str | None, Tree] = {None: root}
    pads = _pads(found.nodes)
    for node in found.nodes:
        parent = branches.get(node.parent, root)
        label = _label(node, pads[node.parent, node.kind], found.read_at)
        branches[node.id] = parent.add(label)
    return root


def plain_lines(drawn: RenderableType) -> Iterator[str]:
    """Yield the lines of a tree or a table without colours; they are folded only on a terminal."""
    console = Console(width=None if is_terminal() else 100_000, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(drawn)
    yield from map(str.rstrip, captured.get().splitlines())


def short_id(some_id: object) -> str:
    """Return the first digits of an id, by which it can be found."""
    return f"{str(some_id)[:MIN_PREFIX]}…"


def _pads(nodes: Sequence[Node]) -> Mapping[tuple[str | None, str], int]:
    """Return the widths of siblings' names, to align what stands next to them."""
    pads: dict[tuple[str | None, str], int] = {}
    for node in nodes:
        key = node.parent, node.kind
        pads[key] = max(pads.get(key, 0), len(node.name))
    return pads


def _label(node: Node, pad: int, read_at: datetime | None) -> Text:
    past = (f"· {entry_line(entry, known=node.error)}" for entry in node.history)
    if node.kind == "delivery":
        due_in = node.available_at and read_at and node.available_at - read_at
        seconds = due_in.total_seconds() if due_in else 0.0
        texts = [f"{node.name:{pad}}  {_status(node, seconds)}"]
    else:
        when = f", {node.completed_at:%F %T}Z" if node.kind == "command" else ""
        texts = [f"{node.name}  {node.about}{when}".rstrip() + f"  {short_id(node.id)}"]
    texts += past
    is_bad = node.state == "parked"
    return Text("\n".join(map(escape_controls, texts)), style="red" if is_bad else "")


def _status(node: Node, due_in: float) -> str:  # noqa: C901 - all states are read in one place
    """Return the state of a delivery, what comes next, and the full name of its process."""
    attempts, reason = node.attempts or 0, _given_up(node) + _reason(node.error)
    span = format_duration(abs(due_in))
    attempt = f"attempt {attempts}"
    if node.history:  # tells claims apart that were not counted as attempts
        attempt += f", token {node.token}"
    match node.state:
        case "done":
            took = "" if node.seconds is None else f" in {format_duration(node.seconds)}"
            again = f", {attempt}" if node.history or attempts != 1 else ""
            return f"done{took}{again}{_by(node.owner)}{reason}"
        case "given_up":
            return f"given up{_by(node.owner)}{reason}"
        case "parked":
            return f"parked {node.parked_at:%F %T}Z, {attempt}{reason}"
        case "running":
            return f"running, {attempt}, lease ends in {span}, by {node.owner}"
        case "discarded":
            return f"discarded by an operator{reason}"
        case "paused" | "blocked":
            first = f", the first of its lane is {short_id(node.blocked_by)}"
            return f"{node.state}{first if node.blocked_by else ''}, attempt {attempts + 1}{reason}"
        case "lease_expired":
            lost = f"lease expired {span} ago, {attempt}, by {node.owner}"
            return f"{lost}; attempt {attempts + 1} is due{reason}"
    return f"{node.state} {'in' if due_in > 0 else 'for'} {span}, attempt {attempts + 1}{reason}"


def entry_line(entry: HistoryEntry, *, known: str | None = None) -> str:
    """Return what happened to a delivery, when, by whom, and why if that is not `known`."""
    why, time = "" if entry.why == known else _reason(entry.why), f"{entry.recorded_at:%F %T}Z"
    if entry.attempt is None:
        return f"{entry.what} {time}, by {entry.by}{why}"
    ended = SHOWN_AS.get(entry.what, entry.what)
    return f"attempt {entry.attempt} {ended} {time}, token {entry.token}{_by(entry.by)}{why}"


def _reason(error: str | None) -> str:
    first_line = (error or "").partition("\n")[0]
    return f": {first_line}" if first_line else ""


def _given_up(node: Node) -> str:
    """Return why the handler was given up; attempts are then those of what happens instead."""
    instead = "" if node.state == "given_up" else ", its instead runs"
    return f"{instead}; {node.given_up}" if node.given_up else ""


def _by(process: str | None) -> str:
    """Return the process: its name, or its host and number if it has no name."""
    return f", by {process.rpartition('@')[0] or process}" if process else ""
