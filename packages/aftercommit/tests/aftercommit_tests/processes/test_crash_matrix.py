"""A real process is killed; then a worker runs; then nothing may be missing.

Each test is one kind of kill: what the kernel and the database make of it is real. All other steps
are killed in the simulation.
"""

import os
import signal

import pytest

from aftercommit_tests.processes import PATIENCE, Installation, freeze, owed, stop, wait_until

IN_EACH_DATABASE = "asyncio-sqlite", "asyncio-postgres"
ON_TRIO_TOO = pytest.mark.on(*IN_EACH_DATABASE, "trio-sqlite")
# a kill gives no event loop a chance to do anything
pytestmark = [pytest.mark.check, pytest.mark.on(*IN_EACH_DATABASE)]

AFTER_THE_COMMIT = pytest.param("after the commit", marks=ON_TRIO_TOO)
IN_WRITE_DOWN = "in the commit of write_down"
IN_ANNOUNCE = pytest.param("inside announce, after the effect", marks=ON_TRIO_TOO)

MAKE = ("make-thing", "lamp")
WORK = ("worker", "--until-idle")


@pytest.fixture
def working(on_each: Installation) -> Installation:
    """An installation with a thing of which a worker has to do everything."""
    on_each.crash("after the commit", *MAKE)
    on_each.end_leases()
    return on_each


def let_a_worker_finish(installation: Installation) -> None:
    installation.end_leases()
    installation.succeed(*WORK)


def assert_all_was_done(installation: Installation) -> None:
    assert installation.rows("SELECT name FROM things") == [("lamp",)]
    assert installation.lines == ["lamp"]
    assert installation.rung == ["lamp", "lamp shines"]
    assert owed(installation) == []


@pytest.mark.parametrize("point", ["in the commit", AFTER_THE_COMMIT])
def test_a_command_survives_a_kill(point: str, on_each: Installation) -> None:
    """The thing is there with everything that follows from it, or was never acknowledged."""
    printed = on_each.crash(point, *MAKE)

    let_a_worker_finish(on_each)

    if point == "in the commit":
        assert "made" not in printed
        assert on_each.rows("SELECT name FROM things") == []
        assert on_each.rings == []
        on_each.succeed(*MAKE)
    assert_all_was_done(on_each)


@pytest.mark.parametrize("point", [IN_WRITE_DOWN, IN_ANNOUNCE])
def test_a_worker_survives_a_kill(point: str, working: Installation) -> None:
    """A worker is a process like any other: the next one takes over."""
    working.crash(point, *WORK)

    let_a_worker_finish(working)

    assert_all_was_done(working)


def test_a_lease_that_ends_by_time_is_taken_over(on_each: Installation) -> None:
    """Nobody moves the clock in production: the database's own has to do it."""
    seconds = {"lease_seconds": "20", "handler_timeout_seconds": "4"}
    on_each.crash("inside announce, after the effect", *MAKE, **seconds)
    assert owed(on_each)

    on_each.succeed(*WORK, **seconds)

    assert_all_was_done(on_each)
    interrupted = on_each.rows("SELECT handler, outcome FROM aftercommit_failures")
    assert ("announce", "lease_expired") in interrupted, "and whatever else was interrupted"
    assert len(on_each.rung) < len(on_each.rings) <= len(on_each.rung) + len(interrupted)


def test_a_frozen_worker_that_wakes_up_changes_nothing(on_each: Installation) -> None:
    """A machine that was asleep must not complete, or fail, what others have done meanwhile."""
    on_each.succeed(*MAKE, dispatch="worker")
    bell = on_each.folder / "fifo"
    os.mkfifo(bell)  # who rings it hangs until somebody reads
    row = "SELECT * FROM aftercommit_deliveries WHERE handler = 'announce'"
    with on_each.running("worker", bell_file="fifo", **PATIENCE) as frozen:
        wait_until(lambda: [handler for handler, _ in owed(on_each)] == ["announce", "praise"])
        freeze(frozen, on_each)
        let_a_worker_finish(on_each)
        done = on_each.rows(row)

        with bell.open("r+b", buffering=0) as listening:  # also for who rings later
            frozen.send_signal(signal.SIGCONT)
            assert b"lamp" in listening.readline()  # so late
            assert stop(frozen) == 0
        assert frozen.stderr is not None
        assert "for announce has ended: its lease was over" in frozen.stderr.read()

    assert on_each.rows(row) == done
    assert_all_was_done(on_each)
