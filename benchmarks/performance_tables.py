"""The generated parts of performance.md: all come from `results.json`."""

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks import results
from benchmarks.measuring import Row, as_shown


def parts() -> dict[str, Callable[[], Iterator[str]]]:
    """Return the parts by their names: a table for each topic that was measured, and more."""
    tables = {f"measured_{topic}": partial(table, topic) for topic in results.read()}
    return {"measured_on": measured_on, "versions": versions, **tables}


def table(topic: str) -> Iterator[str]:
    """Yield the results of a topic, and the command that measures it again."""
    measured = results.read()[topic]
    yield "| what | ours | peer | limit | ours ÷ it |"
    yield "|---|---|---|---|---|"
    for row in measured.rows:
        theirs = f"{row.other}: {figure(row.theirs)}"
        peer, limit = ("", theirs) if row.is_limit else (theirs, "")
        ours = f"{figure(row.ours)} {row.unit}"
        yield f"| {row.what} | {ours} | {peer} | {limit} | {ratio(row)} |"
    yield ""
    yield f"To repeat it: `python -m benchmarks {'--full ' if measured.full else ''}{topic}`"


def measured_on() -> Iterator[str]:
    """Yield when and how the topics were measured: a line for all that were measured alike."""
    alike: dict[str, list[str]] = {}
    for topic, each in results.read().items():
        rounds, where = "long" if each.full else "short", each.where
        how = f"{each.date}, {rounds} rounds, Python {where.python}, {where.cores} cores"
        alike.setdefault(how, []).append(topic)
    for how, topics in alike.items():
        yield f"- {how}: {', '.join(topics)}"


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
