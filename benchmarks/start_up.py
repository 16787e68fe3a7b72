"""Measures how long `allocation --help` takes, in milliseconds of a new process each time."""

import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.results import Topic

THREE_LINES = """import click
@click.command()
def main() -> None: "Do nothing."
main(["--help"])
"""
WHY = (
    "Ours takes 12 ms more: nearly 5 of them to read the first sentence of each command from its "
    "source, 2 for the table of rooms, 2 for the modules that show an error, and the rest for the "
    "options that all commands have. A list written twice would be faster, and could be wrong."
)


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
        ways=[Way(name="three lines of Click", once=click, goal=Goal(1.1, at_most=True))],
        rounds=effort.pick(9, 41),
    )


TOPIC = Topic(
    name="start_up",
    title="The help of the command line",
    meaning=(
        "What somebody waits for who asks for `--help`, or for the next word at every press of the"
        " tab key. Both import Click; ours lists its commands and imports nothing else for it."
    ),
    contests=contests,
    why=WHY,
)
