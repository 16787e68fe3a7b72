"""Runs a web application until its worker is about to claim something, and kills it there.

python -m aftercommit_tests.outbox.processes.dying PORT
"""

import os
import signal
import sys
from typing import Any, NoReturn

import uvicorn
from aftercommit.sql.outbox import SqlAlchemyOutbox


async def die(*arguments: Any) -> NoReturn:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is dead")


if __name__ == "__main__":
    SqlAlchemyOutbox.claim = die  # type: ignore[method-assign, assignment]
    sys.path.insert(0, "")
    uvicorn.run("main:app", port=int(sys.argv[1]), log_level="warning")
