"""Notifies systemd, if it asks, that the process has started and its event loop is running.

A worker that is frozen, or whose event loop is blocked, sends nothing: systemd ends and restarts
it. The protocol is that of `sd_notify(3)`: a datagram to the socket in `NOTIFY_SOCKET`.
"""

import faulthandler
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio import create_task_group, sleep

from aftercommit.process.running_services import Shutdown

STDERR = 2


@asynccontextmanager
async def notifying(stop: Shutdown) -> AsyncIterator[None]:
    """Notify systemd that the process is ready, and answer its watchdog while this lasts.

    The watchdog ends a silent process with SIGABRT; the stacks of its threads are then in the log.
    """
    _notify("READY=1")
    async with create_task_group() as group:
        group.start_soon(_tell_stop, stop)
        if seconds := _watchdog_seconds():
            faulthandler.enable(file=STDERR)
            group.start_soon(_keep_alive, seconds / 2)
        yield
        group.cancel_scope.cancel()


async def _tell_stop(stop: Shutdown) -> None:
    await stop.wait()
    _notify("STOPPING=1")


async def _keep_alive(pause: float) -> None:
    while True:
        _notify("WATCHDOG=1")
        await sleep(pause)


def _watchdog_seconds() -> float:
    """Return after how many seconds of silence systemd ends this process; 0 if it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() else 0


def _notify(state: str) -> None:
    """Notify systemd if it listens; nobody waits for that."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        abstract = address.startswith("@")
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), f"\0{address[1:]}" if abstract else address)
