"""The threads of the connections of this process."""

import threading

import anyio
import anyio.lowlevel


def running_threads() -> list[threading.Thread]:
    """Return those that run."""
    return [thread for thread in threading.enumerate() if thread.name == "sqlalchemy_anyio"]


async def threads_have_ended() -> None:
    """Wait until none runs, but not forever."""
    with anyio.fail_after(60):
        while running_threads():
            await anyio.lowlevel.checkpoint()
