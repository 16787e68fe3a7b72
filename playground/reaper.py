"""Outlives the playground by a moment, however it ends, and removes everything it has left.

It is a separate process that waits for the end of its standard input, to which only the playground
can write. Then it kills everything that the playground has started, including frozen processes, and
removes the folder. All processes are in one group, so no list of them is needed.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from subprocess import PIPE, Popen
from tempfile import mkdtemp

TRIES = 100


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What is removed at the end: a folder, and the processes of a group."""

    folder: Path
    group: int


@contextmanager
def reaper() -> Iterator[Sandbox]:
    """Provide a folder and a process group; remove both at the end, or if this one is killed."""
    folder = mkdtemp(prefix="allocation-playground-")
    command = [sys.executable, "-m", __name__, folder]
    # a group of its own: Ctrl-C is for the playground
    with Popen(command, stdin=PIPE, stdout=PIPE, process_group=0) as keeper:
        assert keeper.stdout
        yield Sandbox(Path(folder), int(keeper.stdout.readline()))


def main(folder: str) -> None:
    """Print the group on standard output, wait for the end of standard input, and clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    group = _new_group()
    print(group, flush=True)  # noqa: T201 for the playground
    sys.stdin.read()
    os.killpg(group, signal.SIGKILL)
    os.waitpid(group, 0)
    for _ in range(TRIES):  # processes that are being killed may still be writing
        rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            break
        time.sleep(0.01)


def _new_group() -> int:
    """Return a group that lasts as long as this process: that of a process that does nothing."""
    member = os.fork()
    if member == 0:
        while True:
            signal.pause()
    os.setpgid(member, member)
    return member


if __name__ == "__main__":
    main(*sys.argv[1:])
