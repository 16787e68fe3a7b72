"""Runs a web application until its worker is about to claim something, and kills it there.

python -m aftercommit_tests.outbox.processes.dying PORT
"""

import os
import signal
import sys
from collections.abc import Collection

import uvicorn
from aftercommit.claims import Claim
from aftercommit.sql.delivery_store import SqlAlchemyDeliveryStore


async def die_if_due(
    outbox: SqlAlchemyDeliveryStore, limit: int, handlers: Collection[str]
) -> tuple[Claim, ...]:
    """Kill this process; not yet if nothing is due: a worker that begins to listen also claims."""
    if await outbox.seconds_until_due(handlers, scheduled=True) is None:
        return ()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is dead")


if __name__ == "__main__":
    SqlAlchemyDeliveryStore.claim = die_if_due  # type: ignore[method-assign, assignment]
    sys.path.insert(0, "")
    uvicorn.run("main:app", port=int(sys.argv[1]), log_level="warning")
