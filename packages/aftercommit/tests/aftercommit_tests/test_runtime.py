"""Running asynchronous work from a synchronous command."""

import os
import signal
from typing import get_args

import anyio
import pytest

from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.process import run
from aftercommit_tests.inside.settings import EventLoop


@pytest.mark.parametrize("backend", get_args(EventLoop))
def test_what_fails_because_it_was_interrupted_is_an_interruption(backend: str) -> None:
    """Anyone who presses Ctrl-C while a database is locked gets no traceback, and exit code 130."""

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


@pytest.mark.parametrize("backend", get_args(EventLoop))
def test_of_a_group_of_errors_the_first_is_raised(backend: str) -> None:
    """The exit code goes by its kind, and its cause says why the database is down."""
    reason = ConnectionRefusedError("nobody listens")

    async def fail() -> None:
        raise DatabaseUnavailable("away") from reason

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)

    with pytest.raises(DatabaseUnavailable) as caught:
        run(work, event_loop=backend)

    assert caught.value.__cause__ is reason
