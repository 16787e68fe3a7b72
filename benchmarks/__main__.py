"""Measures, and writes down what came of it.

    python -m benchmarks [--full] [TOPIC ...]

Without a topic, all are measured. Each is stored in `results.json` when it is done, in the place of
what was there; at the end docs/performance.md and its charts are made from that file.
"""

import argparse
import logging
import time

from benchmarks import charts, results
from benchmarks.measuring import Effort, Row, Unavailable, as_shown, measure
from benchmarks.results import Measured, Topic
from benchmarks.topics import TOPICS
from tests import generated


def main() -> None:
    logging.disable(logging.WARNING)  # as little is written as by those who are compared
    topics = {topic.name: topic for topic in TOPICS}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure.")
    parser.add_argument("--full", action="store_true", help="more and longer rounds")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(topics)}")
    given = parser.parse_args()
    if unknown := set(given.topics) - topics.keys():
        parser.error(f"there is no topic {', '.join(sorted(unknown))}")
    for name in given.topics or topics:
        results.put(name, measured(topics[name], Effort(given.full)))
    charts.write_all()
    generated.write()


def measured(topic: Topic, effort: Effort) -> Measured:
    """Measure a topic, and say what comes of it as it comes."""
    print(f"{topic.title} …", flush=True)
    started, rows = time.monotonic(), list[Row]()
    skipped = None
    try:
        for contest in topic.contests(effort):
            found = measure(contest, effort)
            rows += found
            print(*map(_told, found), sep="\n", flush=True)
    except Unavailable as reason:
        skipped = str(reason)
        print(f"  skipped: {skipped}")
    print(f"  {time.monotonic() - started:.0f} s", flush=True)
    return Measured(
        date=results.today(),
        full=effort.full,
        where=results.here(),
        rows=tuple(rows),
        skipped=skipped,
    )


def _told(row: Row) -> str:
    if row.missing:
        return f"  {row.what} ÷ {row.other}: not measured: {row.missing}"
    if row.ratio is None:
        return f"  {row.what}: {row.ours:.4g} {row.unit}"
    low, high = (as_shown(ratio or 0) for ratio in (row.lowest, row.highest))
    ratio = f"{as_shown(row.ratio):g} ({low:g} to {high:g})"
    figures = f"{row.ours:.4g} ÷ {row.theirs:.4g} {row.unit} = {ratio}"
    return f"  {row.what} ÷ {row.other}: {figures}, goal {row.goal or 'none'}"


if __name__ == "__main__":
    main()
