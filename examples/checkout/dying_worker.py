"""A worker that is killed at each step, once in all processes together: see `soak.py`.

At each point it makes a file in a folder, and kills itself if there were fewer than so many.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from aftercommit import Observer, Outcome, command_line

from examples.checkout.app import APP

if TYPE_CHECKING:
    from aftercommit.claims import Claim, CommandWork

Operation = AbstractContextManager[object]


class Killer(Observer):
    """Kills this process: at the beginning and at the end of each operation, and after its COMMIT.

    An attempt that ends has perhaps had its external effect, or executed its command. What has a
    transaction has committed it when it ends.
    """

    def __init__(self, folder: Path, times: int) -> None:
        self._folder, self._times = folder, times

    def command(self, work: "CommandWork", seconds: float) -> Operation:
        """Die before a command, and after its handler."""
        return self._operation(work.name)

    def attempt(self, claim: "Claim", seconds: float) -> Operation:
        """Die before a handler, and after it."""
        instead = "instead of " if claim.given_up else ""
        return self._operation(f"{instead}{claim.handler}")

    def port_call(self, port: str, method: str) -> Operation:
        """Die before a call of the payment service, and after it."""
        return self._operation(f"{port}.{method}")

    def finished(self, outcome: Outcome) -> None:
        """Die after something has ended."""
        self._maybe_die(f"{outcome.work.name} {outcome.status}")

    @contextmanager
    def _operation(self, name: str) -> Iterator[None]:
        self._maybe_die(f"{name} begins")
        yield
        self._maybe_die(f"{name} ends")

    def _maybe_die(self, point: str) -> None:
        for time in range(self._times):
            try:
                (self._folder / f"{point} {time}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)


def work(folder: Path, times: int, environment: Mapping[str, str]) -> None:
    """Be a worker with these settings, until it is killed. It prints nothing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.environ.update(environment)
    killer = Killer(folder, times)
    command_line(APP.with_parts(observers=[lambda settings: nullcontext(killer)]))(["worker"])
