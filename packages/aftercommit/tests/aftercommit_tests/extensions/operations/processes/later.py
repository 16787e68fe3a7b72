"""Runs the application with one more handler of ThingMade, as if it had been added later.

    python -m aftercommit_tests.extensions.operations.processes.later ARGUMENTS…

What it replays, it replays in small batches, so that there is more to kill.
"""

import sys

from aftercommit.extensions.operations import batched_transactions

from aftercommit_tests.things.app import cli
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork

FEW = 3


async def count_thing(event: ThingMade, uow: UnitOfWork) -> None:
    """Add a line for each time that it takes effect."""
    uow.write(event.name)


if __name__ == "__main__":
    HANDLERS.events[ThingMade] = (*HANDLERS.events[ThingMade], count_thing)
    batched_transactions.BATCH_ROWS = FEW
    cli(sys.argv[1:])
