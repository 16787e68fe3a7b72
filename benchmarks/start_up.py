"""Measures how long `allocation --help` takes, in milliseconds of a new process each time."""

import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measuring import Contest, Effort, Way

THREE_LINES = """import click
@click.command()
def main() -> None: "Do nothing."
main(["--help"])
"""


def milliseconds(command: Sequence[str | Path]) -> float:
    """Run a command, and return how long it took from start to end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    script = Path(sysconfig.get_path("scripts")) / "allocation"
    click = partial(milliseconds, (sys.executable, "-c", THREE_LINES))
    yield Contest(
        what="--help",
        unit="ms",
        ours=partial(milliseconds, (script, "--help")),
        ways=[Way(name="three lines of Click", once=click)],
        rounds=effort.pick(9, 41),
    )
