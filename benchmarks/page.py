"""The generated parts of docs/performance.md: all come from `results.json`."""

from collections.abc import Callable, Iterator
from functools import partial
from textwrap import wrap

from benchmarks import results
from benchmarks.measuring import Row, as_shown

WIDTH = 100


def parts() -> dict[str, Callable[[], Iterator[str]]]:
    """Return the parts by their names: a table for each topic that was measured, and more."""
    tables = {f"measured_{topic}": partial(table, topic) for topic in results.read()}
    return {"expectations": expectations, "versions": versions, **tables}


def expectations() -> Iterator[str]:
    """Yield what a user can expect, in a few lines."""
    hand = [row for of in ("registration", "registration_postgresql") for row in _peers(of)]
    times = [1 / row.ratio for row in hand if row.other == "by hand on SQLAlchemy"]
    queues = {name: _ratios(name) for name in ("pgqueuer", "oban", "procrastinate")}
    yield from _item(
        f"One process registers {_ours('registration')} users a second on SQLite, and "
        f"{_ours('registration_postgresql')} on PostgreSQL, with all that follows. The same work "
        f"written by hand on SQLAlchemy is {min(times):.1f} to {max(times):.1f} times as fast."
    )
    yield from _item(
        f"A worker runs {_ours('worker')} deliveries a second if their handlers do nothing, and "
        f"{_ours('worker_in_transactions')} if each handler has a transaction."
    )
    yield from _item(
        "That is, beside job queues: "
        + ", ".join(f"{ratio} times {name}" for name, ratio in queues.items())
        + "."
    )
    yield from _item(
        f"A handler in another process starts {_ours('latency')} ms after the commit (PostgreSQL)."
    )
    yield from _item("A long history makes neither a registration nor a claim slower.")


def _item(text: str) -> list[str]:
    return wrap(f"- {text}", WIDTH, subsequent_indent="  ")


def _peers(topic: str) -> list[Row]:
    return [row for row in results.read()[topic].rows if not row.is_limit]


def _ours(topic: str) -> str:
    """Return our figures of a topic in its first unit, from the lowest to the highest."""
    rows = results.read()[topic].rows
    found = [row.ours for row in rows if row.unit == rows[0].unit]
    return _range(figure(min(found)), figure(max(found)))


def _ratios(peer: str) -> str:
    found = [row.ratio for row in _peers("worker") if row.other == peer]
    return _range(f"{min(found):.1f}", f"{max(found):.1f}")


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def table(topic: str) -> Iterator[str]:
    """Yield what was measured of a topic, when, and how to measure it again."""
    measured = results.read()[topic]
    yield "| what | ours | peer | limit | ours ÷ it |"
    yield "|---|---|---|---|---|"
    for row in measured.rows:
        theirs = f"{row.other}: {figure(row.theirs)}"
        peer, limit = ("", theirs) if row.is_limit else (theirs, "")
        ours = f"{figure(row.ours)} {row.unit}"
        yield f"| {row.what} | {ours} | {peer} | {limit} | {ratio(row)} |"
    rounds = "long" if measured.full else "short"
    where = f"Python {measured.where.python}, {measured.where.cores} cores"
    yield ""
    yield f"Measured on {measured.date}, in {rounds} rounds, with {where}:"
    yield f"`python -m benchmarks {'--full ' if measured.full else ''}{topic}`"


def figure(number: float) -> str:
    """Return a number with three digits that count."""
    if number >= 100:
        return f"{float(f'{number:.3g}'):,.0f}"
    return f"{number:.3g}"


def ratio(row: Row) -> str:
    """Return a ratio, with the lowest and the highest if they differ."""
    low, high = as_shown(row.lowest), as_shown(row.highest)
    spread = f" ({low:g}–{high:g})" if low != high else ""
    return f"{as_shown(row.ratio):g}{spread}"


def versions() -> Iterator[str]:
    """Yield what it was measured with; of topics from different days, all versions."""
    found: dict[str, dict[str, None]] = {}
    for where in (each.where for each in results.read().values()):
        machine = {"system": where.system, "cores": str(where.cores), "Python": where.python}
        for name, version in {**machine, **where.versions}.items():
            found.setdefault(name, {})[version] = None
    yield "| | |"
    yield "|---|---|"
    for name, of_name in found.items():
        yield f"| {name} | {', '.join(of_name)} |"
