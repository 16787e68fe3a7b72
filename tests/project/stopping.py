"""Runs the application, and stops it with SIGSTOP right after the commit of a command.

    python -m tests.project.stopping ARGUMENTS…

Whoever has started it looks at the database, and continues or kills it.
"""

import os
import signal
import sys

from aftercommit.deliveries import CommandWork, Committed
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.sql.unit_of_work import SqlAlchemyUnitOfWorkScope

from allocation.entrypoints.app import cli

commit = SqlAlchemyUnitOfWorkScope.commit


async def commit_and_stop(uow: SqlAlchemyUnitOfWorkScope, envelopes: EnvelopeFactory) -> Committed:
    """Commit, and stop the process: not after handlers of events."""
    committed = await commit(uow, envelopes)
    if isinstance(uow._work, CommandWork):
        os.kill(os.getpid(), signal.SIGSTOP)
    return committed


if __name__ == "__main__":
    SqlAlchemyUnitOfWorkScope.commit = commit_and_stop  # type: ignore[assignment, method-assign]
    cli(sys.argv[1:])
