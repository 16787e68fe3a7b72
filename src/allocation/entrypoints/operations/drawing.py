"""Draws the tree of a trace, for a person. Pure: from nodes to lines."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from textwrap import wrap
from unicodedata import combining, east_asian_width

from allocation.adapters.operations.decisions import DISCARDED
from allocation.adapters.operations.traces import DIGITS
from allocation.adapters.operations.trees import FailedAttempt, TraceNode
from allocation.entrypoints.output import printable

WIDTH = 100  # where nothing says how wide it may be; what is longer then stays one line
MIN_TEXT = 30  # columns beside the branches, however deep
UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def drawn(nodes: Sequence[TraceNode], *, width: int | None = None) -> Iterator[str]:
    """Yield the lines of a tree whose nodes come depth first, wrapped to the width if there is one.

    Under a delivery stands each of its attempts that failed.
    """
    children: defaultdict[str | None, list[TraceNode]] = defaultdict(list)
    for node in reversed(nodes):
        children[node.parent].append(node)
    left = [(node, "", "") for node in children[None]]
    while left:
        node, first, rest = left.pop()
        below = children[node.id]
        pad = max(len(other.name) for other in children[node.parent] if other.kind == node.kind)
        yield from _lines_of(node, first, rest + ("│  " if below else "   "), pad, width)
        for number, child in enumerate(below):
            branch = ("├─ ", "│  ") if number else ("└─ ", "   ")
            left.append((child, rest + branch[0], rest + branch[1]))


def abbreviated(some_id: object) -> str:
    """Return the first digits of an id: those that it is found by."""
    return f"{str(some_id)[:DIGITS]}…"


def span(seconds: float) -> str:
    """Return a length of time in the unit that says most: 3 ms, 2.5 s, 25 s, 4 min."""
    for unit, size in UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    if seconds >= 1:
        return f"{seconds:.{int(seconds < 10)}f} s"
    return f"{seconds * 1000:.0f} ms"


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes, about."""
    wide = sum(east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(bool(combining(character)) for character in text)


def _lines_of(node: TraceNode, first: str, rest: str, pad: int, width: int | None) -> Iterator[str]:
    if node.kind == "delivery":
        yield from _wrapped(f"{node.name:{pad}}  {_fate(node)}", first, rest + "  ", width)
    else:
        yield from _with_id(node, first, rest, width)
    for failure in node.failures:
        yield from _wrapped(f"· {_failed(failure, node)}", rest, rest + "  ", width)


def _with_id(node: TraceNode, first: str, rest: str, width: int | None) -> Iterator[str]:
    """Yield the lines of a command or an event, with the id at the right of the first."""
    when = f", {node.finished_at:%F %T}Z" if node.kind == "command" and node.finished_at else ""
    short = abbreviated(node.id)
    room = (width or WIDTH) - len(short) - 2
    line, *others = _wrapped(
        f"{node.name}  {node.about}{when}".rstrip(), first, rest, width and room
    )
    yield f"{line}{' ' * (room - columns(line))}  {short}"
    yield from others


def _wrapped(text: str, first: str, rest: str, width: int | None) -> list[str]:
    text = printable(text)
    if width is None:
        return [first + text]
    lines = wrap(text, max(width - len(rest), MIN_TEXT))
    return [f"{rest if number else first}{line}" for number, line in enumerate(lines)]


def _fate(node: TraceNode) -> str:
    """Return what has become of a delivery, and what comes next; who has it in hand, in full."""
    attempt, reason = f"attempt {node.attempts}", _reason(node.error)
    if node.state == "done" and node.error == DISCARDED:
        return DISCARDED
    if node.state == "done":
        who = f", by {_name_of(node.process)}" if node.process else ""
        took = "" if node.seconds is None else f" in {span(node.seconds)}"
        again = f", {attempt}" if node.attempts != 1 else ""
        return f"done{took}{again}{who}{reason}"
    if node.state == "parked":
        return f"parked {node.parked_at:%F %T}Z, {attempt}{reason}"
    if node.state == "leased":
        return f"{attempt}, leased for {span(node.due_in or 0)}, by {node.process}"
    return f"{_next_attempt(node)}{reason}"


def _next_attempt(node: TraceNode) -> str:
    pause, attempts = node.due_in or 0, node.attempts or 0
    if node.process:
        lost = f"attempt {attempts}, by {node.process}, lost its lease {span(-pause)} ago"
        return f"{lost}; attempt {attempts + 1} is due"
    when = f"in {span(pause)}" if pause > 0 else f"due for {span(-pause)}"
    return f"attempt {attempts + 1} {when}"


def _failed(failure: FailedAttempt, node: TraceNode) -> str:
    """Return when and where an attempt failed, and why, if its delivery does not say so already."""
    who = f", by {_name_of(failure.process)}" if failure.process else ""
    told = node.state in ("waiting", "parked") and failure.error == node.error
    why = "" if told else _reason(failure.error)
    return f"attempt {failure.attempt} failed {failure.failed_at:%F %T}Z{who}{why}"


def _reason(error: str | None) -> str:
    first_line = (error or "").partition("\n")[0]
    return f": {first_line}" if first_line else ""


def _name_of(process: str) -> str:
    """Return the name of a process, or its host and number if it has none."""
    return process.rpartition("@")[0] or process
