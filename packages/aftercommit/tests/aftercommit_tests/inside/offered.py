"""Prints what a program offers to those who run it, as JSON: with the engine that is on the path.

    python -m aftercommit_tests.inside.offered kiosk

It names a project that `aftercommit new` has made, and takes only what each version of the engine
has: its database is a new one, in the current folder.
"""

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from typing import Any

import anyio
import click
from aftercommit.deliveries.history import ENGINE
from aftercommit.extensions.metrics.process_health import Probes
from aftercommit.project import OPTIONS
from prometheus_client.metrics import MetricWrapperBase

PAUSE = "INSERT INTO aftercommit_handler_pauses VALUES ('a_handler', 0, 'Maria')"


def offered(name: str) -> dict[str, list[str]]:
    """Return the names of each kind: commands with their options, metrics with their labels."""
    program = import_module(f"{name}.entrypoints.app")
    return {
        "commands": [*_commands(program.cli), *(f"aftercommit new {each}" for each in OPTIONS)],
        "metrics": anyio.run(_metrics, program.APP, f"{name}.db"),
        "columns": [
            str(column) for table in ENGINE.metadata.tables.values() for column in table.columns
        ],
    }


def _commands(command: Any, path: str = "") -> Iterator[str]:
    """Yield a command, each of its arguments and options, and those of the commands below it."""
    command = command.load() if hasattr(command, "load") else command
    yield path
    for each in command.params:
        yield from (f"{path} {name}" for name in (*each.opts, *each.secondary_opts))
        if isinstance(each.type, click.Choice):
            yield from (f"{path} {each.name}={value}" for value in each.type.choices)
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, f"{path} {name}".strip())


async def _metrics(app: Any, database: str) -> list[str]:
    """Return what a process reports that has a paused handler, and has done nothing yet."""
    settings = app.load({}, {f"{app.name.upper()}_COLLECT_METRICS": "true"})
    async with app.open(settings) as application:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute(PAUSE)
        probes = Probes(application, None, 300.0)  # type: ignore[arg-type]  # nothing stops it
        await probes.look(with_stats=True)
        reported = {
            each.name: {label for sample in each.samples for label in sample.labels}
            for each in probes.collect()
        }
        observers = application.bus.instrumentation.observers
        counted = [each for observer in observers for each in vars(observer).values()]
    for each in counted:  # without a sample as yet
        if isinstance(each, MetricWrapperBase):
            reported[each._name] = {*each._labelnames}
    return [*reported, *(f"{name} {label}" for name in reported for label in reported[name])]


if __name__ == "__main__":
    json.dump(offered(sys.argv[1]), sys.stdout)
