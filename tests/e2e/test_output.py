"""Whoever does not read what a process tells holds up neither its work nor its end."""

import fcntl
import json
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import closing

import pytest

from tests.e2e.processes import (
    LIMIT_SECONDS,
    TIMEOUT_SECONDS,
    Application,
    owed,
    wait_until,
    writing_to,
)

REGISTER = ("register-user", "Иван", "ivan@example.com")
FULL = 60_000  # of 65,536 bytes, less a line


def waiting_in(process: "subprocess.Popen[bytes]") -> int:
    """Return how many bytes of its output wait to be read."""
    assert process.stdout is not None
    answer = fcntl.ioctl(process.stdout, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


def add_users(application: Application, count: int) -> None:
    application.run("db", "upgrade")
    rows = [(f"{n:032x}", f"user{n}", f"user{n}@example.com") for n in range(count)]
    with closing(sqlite3.connect(application.database)) as database:
        database.executemany("INSERT INTO user_view (user_id, name, email) VALUES (?, ?, ?)", rows)
        database.commit()


def test_a_worker_works_and_ends_though_nobody_reads_it(
    application: Application, full_pipe: int
) -> None:
    """A terminal stopped by Ctrl-S must not keep the e-mails of others from being sent."""
    application.run("db", "upgrade")
    command = ("worker",)
    with writing_to(application, *command, stdout=full_pipe, stderr=full_pipe) as worker:
        for n in range(3):
            register = ("register-user", "Иван", f"ivan{n}@example.com")
            with application.running(*register, dispatch="worker") as registering:
                assert registering.wait(LIMIT_SECONDS) == 0
        wait_until(lambda: not owed(application))

        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 0


def test_a_command_ends_though_nobody_reads_it(application: Application, full_pipe: int) -> None:
    """Whatever there is to say."""
    with writing_to(application, "db", "upgrade", stdout=full_pipe, stderr=full_pipe) as process:
        assert process.wait(LIMIT_SECONDS) == 0


def test_a_registration_ends_though_nobody_reads_it(
    application: Application, full_pipe: int
) -> None:
    """What is done is done, and the exit code says so."""
    with writing_to(application, *REGISTER, stdout=full_pipe, stderr=full_pipe) as process:
        assert process.wait(LIMIT_SECONDS) == 0

    assert application.rows("SELECT count(*) FROM registration_log") == [(1,)]


def test_a_list_is_whole_for_a_reader_who_takes_his_time(application: Application) -> None:
    """`| less`: a list that somebody asked for waits for him."""
    add_users(application, 5000)
    command = ("users", "--json")
    with writing_to(application, *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        wait_until(lambda: waiting_in(p) > FULL)
        listed, errors = p.communicate(timeout=LIMIT_SECONDS)

    assert (p.returncode, errors) == (0, b"")
    names = [json.loads(line)["name"] for line in listed.splitlines()]
    assert sorted(names) == sorted(f"user{n}" for n in range(5000))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_list_that_nobody_reads_can_be_ended(
    application: Application, number: signal.Signals, code: int
) -> None:
    """It waits, but not for ever."""
    add_users(application, 5000)
    with writing_to(application, "users", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        wait_until(lambda: waiting_in(p) > FULL)
        p.send_signal(number)
        assert p.wait(LIMIT_SECONDS) == code


REASON = "[Errno 28] No space left on device"
LISTED = [
    "users",
    "asyncapi",
]


def test_a_full_disk_is_told_and_does_not_undo_the_work(application: Application) -> None:
    """The user is registered; a list that could not be written was not."""
    with open("/dev/full", "w") as full:
        with writing_to(
            application, *REGISTER, stdout=full.fileno(), stderr=subprocess.PIPE
        ) as process:
            _, told = process.communicate(timeout=LIMIT_SECONDS)
        for listed in LISTED:
            with writing_to(
                application, listed, stdout=full.fileno(), stderr=subprocess.PIPE
            ) as listing:
                _, complaint = listing.communicate(timeout=LIMIT_SECONDS)
            assert (listing.returncode, complaint.decode()) == (3, f"error: {REASON}\n")

    assert process.returncode == 0
    assert told.decode() == f"the output could not be written: {REASON}\n"


@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_help_for_a_full_disk_fails_like_a_list(application: Application, asked: str) -> None:
    """There is no command yet that could complain; and perhaps nothing to complain on."""
    with open("/dev/full", "w") as full:
        for errors in (subprocess.PIPE, full.fileno()):
            with writing_to(application, asked, stdout=full.fileno(), stderr=errors) as helping:
                _, complaint = helping.communicate(timeout=LIMIT_SECONDS)
            told = f"error: {REASON}\n" if errors == subprocess.PIPE else ""
            assert (helping.returncode, (complaint or b"").decode()) == (3, told)


def test_a_list_for_a_closed_output_fails(application: Application) -> None:
    """A script that asked for a list and got none must not go on as if there were no users."""
    add_users(application, 1)
    script = f"{sys.executable} -m allocation users >&-"
    listing = subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=application.folder,
        env=application.environment(),
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_SECONDS,
    )

    assert listing.returncode == 3
    assert listing.stderr.decode() == "error: [Errno 9] standard output is closed\n"
