"""Running asynchronous work from a synchronous command."""

import os
import signal

import anyio
import pytest
from aftercommit.process.runtime import run
from aftercommit.settings import EVENT_LOOPS
from aftercommit.sql.exceptions import DatabaseUnavailable


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
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(fail_when_cancelled)

    with pytest.raises(KeyboardInterrupt):
        run(work, event_loop=backend)


@pytest.mark.parametrize("backend", EVENT_LOOPS)
def test_an_error_of_a_group_keeps_its_cause_and_knows_of_the_others(backend: str) -> None:
    """The log says why the database is away, and what else has failed."""
    reason = ConnectionRefusedError("nobody listens")

    async def fail() -> None:
        try:
            raise reason
        except OSError as error:
            raise DatabaseUnavailable("away") from error

    async def fail_in_a_group() -> None:
        async with anyio.create_task_group() as inner:
            inner.start_soon(fail)

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail_in_a_group)
            group.start_soon(fail_in_a_group)

    with pytest.raises(DatabaseUnavailable) as caught:
        run(work, event_loop=backend)

    assert caught.value.__cause__ is reason
    assert caught.value.__notes__ == [
        "beside it: DatabaseUnavailable: the database is not available: away"
    ]
