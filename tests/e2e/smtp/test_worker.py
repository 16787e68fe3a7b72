"""The worker as a long-running process: signals, outages, idleness."""

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest

from tests.e2e.processes import (
    LIMIT_SECONDS,
    Application,
    owed,
    stat_of,
    stop,
    wait_for_line,
    wait_until,
)
from tests.e2e.smtp.mail_server import MailServer


@pytest.fixture
def owing(application: Application) -> Application:
    """The application, with a registration whose process died right after its commit."""
    application.run("db", "upgrade")
    application.crash("after the commit", "register-user", "Иван", "ivan@example.com")
    application.end_leases()
    return application


def test_sigterm_lets_work_in_hand_finish(owing: Application, mail: MailServer) -> None:
    """A deployment must neither lose an e-mail nor send it twice."""
    mail.hold = True
    with owing.running("worker") as worker:
        assert mail.holding.wait(LIMIT_SECONDS)
        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: owed(owing) == [("send_welcome_email", 2)])
        assert worker.poll() is None
        mail.release.set()
        assert worker.wait(LIMIT_SECONDS) == 0

    assert owed(owing) == []
    assert len(mail.received) == 1


def test_what_does_not_finish_in_time_is_given_back(owing: Application, mail: MailServer) -> None:
    """The next worker does it at once, without waiting for the lease."""
    mail.hold = True
    with owing.running("worker", shutdown_grace_seconds="0.1") as worker:
        assert mail.holding.wait(LIMIT_SECONDS)
        assert stop(worker) == 0

    assert ("send_welcome_email", 1) in owed(owing)
    due = owing.rows(
        "SELECT available_at FROM aftercommit_deliveries WHERE handler = 'send_welcome_email'"
    )
    assert due[0][0] <= time.time() + 1
    mail.release.set()
    assert owing.run("worker", "--until-idle").returncode == 0
    assert owed(owing) == []


def test_a_second_signal_ends_the_worker_at_once(owing: Application, mail: MailServer) -> None:
    """Whoever insists does not have to wait, and nothing is lost either."""
    mail.hold = True
    with owing.running("worker") as worker:
        assert mail.holding.wait(LIMIT_SECONDS)
        worker.send_signal(signal.SIGINT)
        wait_for_line(worker.stderr, "stopping")
        assert stop(worker, signal.SIGINT) == 128 + signal.SIGINT
    mail.release.set()

    assert "send_welcome_email" in [handler for handler, _ in owed(owing)]


def test_a_worker_survives_a_database_that_goes_away(owing: Application) -> None:
    """It says so, keeps trying, and goes on by itself."""
    url = "sqlite:///allocation.db?timeout=0.05"
    with closing(sqlite3.connect(owing.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        with owing.running("worker", database_url=url) as worker:
            wait_for_line(worker.stderr, "the database is not available: database is locked")
            other.rollback()
            wait_until(lambda: not owed(owing))
            assert worker.poll() is None


def test_a_failure_is_one_line_in_the_log(owing: Application, mail: MailServer) -> None:
    """Handler, event, attempt, error and next time."""
    mail.refusing = True
    result = owing.run("worker", "--until-idle", max_attempts="2")

    failures = [line for line in result.stderr.splitlines() if "send_welcome_email" in line]
    assert len(failures) == 1
    event_id = owing.rows(
        "SELECT event_id FROM aftercommit_deliveries WHERE handler = 'send_welcome_email'"
    )
    assert event_id[0][0] in failures[0].replace("-", "")
    assert "attempt 2: SMTPDataError: (451, b'come back later'); parked" in failures[0]


def test_until_idle_waits_for_what_falls_due_later(owing: Application, mail: MailServer) -> None:
    """And not for what is parked."""
    short_leases = {"lease_seconds": "2", "handler_timeout_seconds": "1", "max_attempts": "100"}
    mail.refusing = True
    with owing.running("worker", retry_initial_seconds="0.2", **short_leases) as worker:
        wait_until(lambda: dict(owed(owing)).get("send_welcome_email", 0) >= 3)
        worker.kill()
    mail.refusing = False

    result = owing.run("worker", "--until-idle", **short_leases)

    assert result.returncode == 0
    assert owed(owing) == []


def test_an_idle_worker_costs_nearly_nothing(owing: Application) -> None:
    """It sleeps, it does not spin: that would take all of a processor."""
    seconds = 3.0
    with owing.running("worker") as process:
        wait_until(lambda: not owed(owing))  # it has started, and has nothing more to do
        before, until = cpu_seconds(process.pid), time.monotonic() + seconds
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(until - time.monotonic())
        used = cpu_seconds(process.pid) - before

    assert used <= 0.05 * seconds


def cpu_seconds(pid: int) -> float:
    user, system = stat_of(pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
