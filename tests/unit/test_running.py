"""Running asynchronous work from a synchronous command."""

import os
import signal

import anyio
import pytest

from allocation.adapters.exceptions import DatabaseUnavailable
from allocation.entrypoints.running import run, task_group
from allocation.rooms import EVENT_LOOPS


@pytest.mark.parametrize("backend", EVENT_LOOPS)
def test_what_fails_because_it_was_interrupted_is_an_interruption(backend: str) -> None:
    """Whoever presses Ctrl-C while a database is locked gets no traceback, and exit code 130."""

    async def fail_when_cancelled() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        finally:
            raise DatabaseUnavailable("locked")

    async def work() -> None:
        async with task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(fail_when_cancelled)

    with pytest.raises(KeyboardInterrupt):
        run(work, backend=backend)
