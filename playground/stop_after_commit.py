"""Runs the application, and stops it with SIGSTOP right after the commit of a command.

    python -m playground.stop_after_commit ARGUMENTS…

At that moment, no handler of an event has run. Look at the database, then continue the process or
kill it.
"""

import os
import signal
import sys

from aftercommit import Observer, Outcome, command_line

from allocation.domain.commands import Command
from allocation.entrypoints.app import APP


class StopAfterCommit(Observer):
    """Stops this process when a command is stored."""

    def finished(self, outcome: Outcome) -> None:
        """Stop after a command, and not after a handler of an event."""
        if isinstance(outcome.work.message, Command):
            os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    command_line(APP.with_parts(reporter=lambda _: StopAfterCommit()))(sys.argv[1:])
