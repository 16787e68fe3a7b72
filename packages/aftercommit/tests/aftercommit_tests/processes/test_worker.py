"""The worker as a long-running process: it is asked to stop, waits for outages, and is idle."""

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest

from aftercommit_tests.processes import (
    LIMIT_SECONDS,
    PATIENCE,
    Installation,
    owed,
    stat_of,
    stop,
    wait_for_line,
    wait_until,
)

pytestmark = pytest.mark.check

HANGING = ["aftercommit_tests.hanging", "wait"]
DUE = "SELECT available_at FROM aftercommit_deliveries WHERE handler = 'wait'"
FAILURES = "SELECT count(*) FROM aftercommit_failures WHERE handler = 'announce'"


@pytest.fixture
def owing(installation: Installation) -> Installation:
    """The application, with a thing whose maker died right after the commit."""
    installation.run("db", "upgrade")
    installation.crash("after the commit", "make-thing", "lamp")
    installation.end_leases()
    return installation


def test_sigterm_lets_work_in_hand_finish(owing: Installation) -> None:
    """A deployment must neither lose an effect nor have it twice."""
    owing.settings = {**PATIENCE}
    bell = owing.folder / "bell.txt"
    os.mkfifo(bell)
    with owing.running("worker") as worker:
        wait_until(lambda: owed(owing) == [("announce", 2), ("praise", 1)])
        worker.send_signal(signal.SIGTERM)
        wait_for_line(worker.stderr, "stopping")
        assert worker.poll() is None
        with bell.open("r+b", buffering=0) as listening:  # also for who rings later
            rung = [listening.readline().decode() for _ in range(2)]
            assert worker.wait(LIMIT_SECONDS) == 0

    assert owed(owing) == []
    assert sorted(line.rpartition(" ")[0] for line in rung) == ["lamp", "lamp shines"]


def test_what_does_not_finish_in_time_is_given_back(installation: Installation) -> None:
    """The next worker does it at once, without waiting for the lease."""
    grace = {**PATIENCE, "shutdown_grace_seconds": "0.1"}
    environment = installation.environment(dispatch="worker", **grace)
    with installation.start(
        "make-thing", "lamp", module=HANGING, environment=environment
    ) as making:
        making.communicate(timeout=LIMIT_SECONDS)
    with installation.start("worker", module=HANGING, environment=environment) as worker:
        wait_for_line(worker.stdout, "hanging")
        wait_until(lambda: owed(installation) == [("wait", 1)])
        assert stop(worker) == 0
        worker.communicate()

    assert owed(installation) == [("wait", 0)]
    assert installation.rows(DUE)[0][0] <= time.time() + 1


def test_a_worker_survives_a_database_that_goes_away(owing: Installation) -> None:
    """It says so, keeps trying, and goes on by itself."""
    with closing(sqlite3.connect(owing.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        with owing.running("worker", database_url="sqlite:///things.db?timeout=0.05") as worker:
            wait_for_line(worker.stderr, "the database is not available: database is locked")
            other.rollback()
            wait_until(lambda: not owed(owing))
            assert worker.poll() is None


def test_until_idle_waits_for_what_falls_due_later(owing: Installation) -> None:
    """Each failure is a line in the log: handler, event, error and next time."""
    bell = {"bell_file": "tower/bell.txt", "retry_initial_seconds": "0.2"}
    with owing.running("worker", "--until-idle", **bell) as worker:
        line = wait_for_line(worker.stderr, "announce failed")
        wait_for_line(worker.stderr, "s for the next due delivery")
        wait_until(lambda: owing.rows(FAILURES)[0][0] >= 3)
        (owing.folder / "tower").mkdir()
        assert worker.wait(LIMIT_SECONDS) == 0

    assert "BellIsAway: no bell in tower; next attempt in " in line
    assert owed(owing) == []


def test_an_idle_worker_costs_nearly_nothing(owing: Installation) -> None:
    """It sleeps, it does not spin: that would take all of a processor.

    Some period is quiet, if not the first: a busy machine may start it slowly.
    """

    def is_quiet(seconds: float = 3.0) -> bool:
        before = _cpu_seconds(process.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(seconds)
        return _cpu_seconds(process.pid) - before <= 0.05 * seconds

    with owing.running("worker") as process:
        wait_until(lambda: not owed(owing))
        wait_until(is_quiet)


def _cpu_seconds(pid: int) -> float:
    user, system = stat_of(pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
