"""Outlives the playground by a moment, however it ends, and leaves nothing of it behind.

It is a process of its own that waits for the end of its standard input, which only the playground
can write to. Then it kills all that the playground has started, also what is stopped and cannot
notice anything, and removes its folder. They are one process group, so nobody has to be listed.
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
    """What goes at the end: a folder, and the processes of a group."""

    folder: Path
    group: int


@contextmanager
def reaper() -> Iterator[Sandbox]:
    """Have a folder and a process group; at the end, and if this process is killed, they go."""
    folder = mkdtemp(prefix="allocation-playground-")
    command = [sys.executable, "-m", __name__, folder]
    # a group of its own: Ctrl-C is for the playground
    with Popen(command, stdin=PIPE, stdout=PIPE, process_group=0) as keeper:
        assert keeper.stdout
        yield Sandbox(Path(folder), int(keeper.stdout.readline()))


def main(folder: str) -> None:
    """Tell the group on standard output, wait for the end of standard input, and tidy up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    group = _new_group()
    print(group, flush=True)  # noqa: T201 for the playground
    sys.stdin.read()
    os.killpg(group, signal.SIGKILL)
    os.waitpid(group, 0)
    for _ in range(TRIES):  # who is being killed may still be writing
        rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            break
        time.sleep(0.01)


def _new_group() -> int:
    """Return a group that lasts as long as this process: of one that does nothing."""
    member = os.fork()
    if member == 0:
        while True:
            signal.pause()
    os.setpgid(member, member)
    return member


if __name__ == "__main__":
    main(*sys.argv[1:])
