"""Processes that consume, and what they have done."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from aftercommit_tests.processes import Installation, stop


@contextmanager
def working(
    installation: Installation, command: str = "consume"
) -> Iterator["subprocess.Popen[str]"]:
    """Run a consumer, and see that it ends in its grace period when it is asked to."""
    with installation.running(command) as process:
        yield process
        assert stop(process) == 0  # 70, if something else had to end it


def made(installation: Installation) -> list[str]:
    """Return the names of the things that commands have made, sorted."""
    return [name for (name,) in installation.rows("SELECT name FROM things ORDER BY name")]


def written(installation: Installation) -> list[str]:
    """Return what a handler has written of them, sorted."""
    return [text for (text,) in installation.rows("SELECT text FROM lines ORDER BY text")]
