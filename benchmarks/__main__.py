"""Measures, and stores the results.

    python -m benchmarks [--full] [TOPIC ...]

Without a topic, all are measured. Each result is stored in `results.json` when it is done,
replacing the old one; at the end, the tables of performance.md are made from that file.
"""

import argparse
import logging
from datetime import UTC, datetime
from functools import partial

from benchmarks import (
    dispatch,
    flat_growth,
    http,
    import_users,
    latency,
    network,
    ordered,
    registration,
    relay,
    results,
    start_up,
    worker,
)
from benchmarks.measuring import Effort, Row, Topic, Unavailable, measure
from benchmarks.performance_tables import figure, parts, ratio
from benchmarks.results import Measured
from tools import generated

TOPICS: dict[str, Topic] = {  # in the order in which they are measured
    "registration": registration.on_sqlite,
    "registration_postgresql": registration.on_postgresql,
    "network": network.contests,
    "worker": worker.beside_others,
    "worker_in_transactions": worker.in_transactions,
    "latency": latency.contests,
    "relay": relay.contests,
    "dispatch": dispatch.contests,
    "import_users": import_users.contests,
    "http": http.contests,
    "start_up": start_up.contests,
    "growth": partial(flat_growth.contests, "SQLite"),
    "growth_postgresql": partial(flat_growth.contests, "PostgreSQL"),
    "ordered": partial(ordered.contests, "SQLite"),
    "ordered_postgresql": partial(ordered.contests, "PostgreSQL"),
}


def main() -> None:
    logging.disable(logging.WARNING)  # so that it logs as little as its peers do
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure.")
    parser.add_argument("--full", action="store_true", help="more and longer rounds")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)}")
    given = parser.parse_args()
    if unknown := set(given.topics) - TOPICS.keys():
        parser.error(f"there is no topic {', '.join(sorted(unknown))}")
    for name in given.topics or TOPICS:
        print(f"{name} …", flush=True)
        try:
            results.put(name, measured(TOPICS[name], Effort(given.full)))
        except Unavailable as reason:
            print(f"  not measured: {reason}")
    generated.write(parts())


def measured(topic: Topic, effort: Effort) -> Measured:
    """Measure a topic, and print its rows as they are measured."""
    rows = list[Row]()
    for contest in topic(effort):
        found = measure(contest, effort)
        rows += found
        print(*map(printed, found), sep="\n", flush=True)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return Measured(date=today, full=effort.full, where=results.here(), rows=tuple(rows))


def printed(row: Row) -> str:
    """Return a row as it is printed while others are measured."""
    figures = f"{figure(row.ours)} ÷ {figure(row.theirs)} {row.unit} = {ratio(row)}"
    return f"  {row.what} ÷ {row.other}: {figures}"


if __name__ == "__main__":
    main()
