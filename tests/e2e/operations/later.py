"""Runs the application with one more handler of UserRegistered, as if it had been added later.

    python -m tests.e2e.operations.later ARGUMENTS…

What it replays, it replays in small batches, so that there is more to kill.
"""

import sys

from allocation.adapters.operations import batches
from allocation.domain.events import UserRegistered
from allocation.entrypoints.cli import cli
from allocation.service_layer.handlers import EVENT_HANDLERS
from allocation.service_layer.unit_of_work import UnitOfWork

FEW = 10


async def count_user(event: UserRegistered, uow: UnitOfWork) -> None:
    """Add a line for each time that it takes effect."""
    await uow.registration_log.append(event.user_id, event.email)
    await uow.commit()


if __name__ == "__main__":
    EVENT_HANDLERS[UserRegistered].append(count_user)
    batches.BATCH_ROWS = FEW
    cli(sys.argv[1:])
