"""systemd's watchdog, by its own protocol: a process tells that its event loop runs."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftercommit import testing

from aftercommit_tests.processes import LIMIT_SECONDS, Installation
from aftercommit_tests.things.app import APP

pytestmark = [pytest.mark.on("trio"), pytest.mark.check]

ALIVE = b"WATCHDOG=1"


@pytest.fixture
def installation(tmp_path: Path, backend: str) -> Installation:
    """The application, whose database has its schema."""
    testing.sqlite_url(APP, tmp_path, "things.db")
    return Installation(tmp_path, backend=backend)


@pytest.fixture(params=["a path", "an abstract name"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """What systemd listens with, and tells a process of which it expects signs of life."""
    address = str(tmp_path / "notify")
    address = address if request.param == "a path" else f"@{address}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0"))
        listener.settimeout(LIMIT_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "50000")
        yield listener


def wait_for(systemd: socket.socket, message: bytes, times: int = 1) -> None:
    while times:
        times -= systemd.recv(100) == message


def test_a_process_tells_systemd_that_it_runs_and_that_it_stops(
    installation: Installation, systemd: socket.socket
) -> None:
    """Between the two, again and again."""
    with installation.running("worker") as process:
        wait_for(systemd, b"READY=1")
        wait_for(systemd, ALIVE, times=5)

        process.send_signal(signal.SIGTERM)
        wait_for(systemd, b"STOPPING=1")
        assert process.wait(LIMIT_SECONDS) == 0


def test_a_blocked_event_loop_is_silent_and_says_where_it_hangs(
    installation: Installation, systemd: socket.socket
) -> None:
    """Threads go on then: a sign of life that came from one would be a lie."""
    module = ("aftercommit_tests.hanging", "block")
    installation.succeed("make-thing", "lamp", module=module, dispatch="worker")

    with installation.running("worker", module=module) as process:
        wait_for(systemd, ALIVE)
        assert process.stdout is not None
        assert "hanging" in process.stdout.readline()
        systemd.settimeout(1)  # twenty times as long as it may be silent
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                systemd.recv(100)
        os.kill(process.pid, signal.SIGABRT)
        _, told = process.communicate(timeout=LIMIT_SECONDS)

    assert process.returncode == -signal.SIGABRT
    assert "hanging.py" in told
    assert "in block" in told


def test_the_watchdog_of_another_process_is_not_answered(
    installation: Installation, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that inherits the variables would speak for a parent that is frozen."""
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    installation.succeed("worker", "--until-idle")

    systemd.setblocking(False)
    assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1", b"STOPPING=1"]
