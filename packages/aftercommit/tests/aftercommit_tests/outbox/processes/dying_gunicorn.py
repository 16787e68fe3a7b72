"""How gunicorn serves a web application that dies after a commit, when something has to follow.

python -m gunicorn -c FILE main:app, in the folder of the application
"""

import os
import signal
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from aftercommit.claims import Claim
from aftercommit.process import worker as of_outbox

running = ExitStack()


def die(*_: object) -> None:
    """Kill gunicorn first, which would start another process."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


async def die_if_due(worker: Any, _: object) -> tuple[Claim, ...]:
    """Not yet if nothing is due: a worker that begins to listen also claims."""
    if await worker._store.seconds_until_due(worker._handlers, scheduled=True) is not None:
        die()
    return ()


def post_worker_init(worker: object) -> None:
    """Let it die where it would begin with what follows."""
    main: Any = import_module("main")
    if hasattr(main, "follow_up"):
        main.follow_up = die
    else:
        of_outbox.Worker._claim = die_if_due  # type: ignore[method-assign, assignment]
        running.enter_context(main.outbox.running_sync())
