"""The generated part of docs/performance.md: all of it comes from `results.json` and the topics."""

from collections.abc import Iterator, Mapping
from textwrap import wrap

from benchmarks import charts, results
from benchmarks.measuring import Row, as_shown
from benchmarks.results import Measured, Topic, Where
from benchmarks.topics import TOPICS

WIDTH = 100


def performance() -> Iterator[str]:
    """Yield the overview, a section for each topic, and what it was measured with."""
    measured = results.read()
    found = [(topic, measured[topic.name]) for topic in TOPICS if topic.name in measured]
    yield from _overview(found)
    for topic, of_topic in found:
        yield from _section(topic, of_topic)
    yield from _surroundings([of_topic.where for _, of_topic in found])


def _overview(found: list[tuple[Topic, Measured]]) -> Iterator[str]:
    yield "| topic | goals reached |"
    yield "|---|---|"
    for topic, measured in found:
        goals = [row.is_met for row in measured.rows if row.is_met is not None]
        reached = f"{sum(goals)} of {len(goals)}" if goals else "–"
        yield f"| [{topic.title}](#{_anchor(topic.title)}) | {reached} |"


def _section(topic: Topic, measured: Measured) -> Iterator[str]:
    yield from ("", f"## {topic.title}", "")
    yield from wrap(topic.meaning, WIDTH)
    yield ""
    if measured.skipped:
        yield from wrap(f"Not measured: {measured.skipped}.", WIDTH)
        return
    if charts.shown(measured.rows):
        yield from (f"![Ratios as parts of their goals](performance/{topic.name}.svg)", "")
    yield from _table(measured)
    yield ""
    yield from _why(topic, measured)
    rounds = "long" if measured.full else "short"
    where = f"Python {measured.where.python}, {measured.where.cores} cores"
    yield f"Measured on {measured.date}, in {rounds} rounds, with {where}:"
    yield f"`python -m benchmarks {'--full ' if measured.full else ''}{topic.name}`"


def _table(measured: Measured) -> Iterator[str]:
    yield "| what | ours | peer | limit | ratio | goal |"
    yield "|---|---|---|---|---|---|"
    for row in measured.rows:
        theirs = f"{row.other}: {figure(row.theirs)}" if row.other else ""
        if row.missing:
            theirs = f"{row.other}: not measured, {row.missing}"
        peer, limit = ("", theirs) if row.is_limit else (theirs, "")
        ours = f"{figure(row.ours)} {row.unit}".strip()
        yield f"| {row.what} | {ours} | {peer} | {limit} | {_ratio(row)} | {_goal(row)} |"


def figure(number: float | None) -> str:
    """Return a number with three digits that count."""
    if number is None:
        return ""
    if number >= 100:
        return f"{float(f'{number:.3g}'):,.0f}"
    return f"{number:.3g}"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return ""
    low, high = row.lowest or 0, row.highest or 0
    spread = f" ({as_shown(low):g}–{as_shown(high):g})" if low != high else ""
    return f"{as_shown(row.ratio):g}{spread}"


def _goal(row: Row) -> str:
    fate = {True: ", reached", False: ", **missed**", None: ""}[row.is_met]
    return f"{row.goal}{fate}" if row.goal else ""


def _why(topic: Topic, measured: Measured) -> Iterator[str]:
    missed = any(row.is_met is False for row in measured.rows)
    if missed and topic.why:
        yield from wrap(f"Why a goal is missed: {topic.why}", WIDTH)
        yield ""


def _surroundings(places: list[Where]) -> Iterator[str]:
    yield from ("", "## What it was measured with", "")
    versions: dict[str, list[str]] = {}
    for where in places:
        for name, version in _named(where).items():
            of_name = versions.setdefault(name, [])
            of_name += [version] if version not in of_name else []
    yield "| | |"
    yield "|---|---|"
    for name, of_name in versions.items():
        yield f"| {name} | {', '.join(of_name)} |"


def _named(where: Where) -> Mapping[str, str]:
    machine = {"system": where.system, "cores": str(where.cores), "Python": where.python}
    return {**machine, **where.versions}


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")
