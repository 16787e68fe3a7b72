"""What happened to a registration, by real processes that fail and die, is read from its trace."""

import json
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.mail import MailFolder
from tests.e2e.processes import LIMIT_SECONDS, Application, on_terminal, wait_until

FAILED_ONCE = "SELECT 1 FROM aftercommit_failures WHERE attempt = 2"


@pytest.fixture
def application(tmp_path: Path, mail_folder: MailFolder, backend: str) -> Application:
    """The application, which tries again soon."""
    settings = {"retry_initial_seconds": "0.1", "retry_factor": "1"}
    return Application(tmp_path, mail_folder, backend=backend, settings=settings)


def test_a_killed_and_failing_registration_can_be_read_from_its_trace(
    application: Application, mail_folder: MailFolder
) -> None:
    """Which attempt, when, in which process, which error: nobody has to look into the database."""
    register = ("register-user", "Иван", "ivan@example.com")
    application.crash("before the fan-out", *register, instance_name="worker-1")
    leased = application.run("trace", "ivan@example.com").stdout
    assert "log_registration         running, attempt 1, lease ends in " in leased

    mail_folder.refusing = True
    follow = ("trace", "ivan@example.com", "--follow", "--json")
    with application.running(*follow) as following:
        assert following.stdout is not None
        followed = [following.stdout.readline() for _ in range(6)]
        application.end_leases()
        work = ("worker", "--until-idle")
        with application.running(*work, instance_name="worker-2") as worker:
            wait_until(lambda: application.rows(FAILED_ONCE))
            mail_folder.refusing = False
            assert worker.wait(LIMIT_SECONDS) == 0
        followed += following.communicate(timeout=LIMIT_SECONDS)[0].splitlines()
    assert following.returncode == 0

    text = application.run("trace", "ivan@example.com").stdout
    when, took = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ", r"\d+ ms"
    for pattern in (
        rf"register_user  cli, {when}",
        rf"log_registration         done in {took}, attempt 2, by worker-2\n",
        rf"send_welcome_email       done in {took}, attempt \d+, by worker-2\n",
        rf"· attempt 1 failed {when}, by worker-1: it had not finished when its lease ended\n",
        rf"· attempt 2 failed {when}, by worker-2: \w+: .*{re.escape(str(mail_folder.folder))}.*\n",
    ):
        assert re.search(pattern, text), (pattern, text)

    states = {node["id"]: node["state"] for node in map(json.loads, followed)}
    assert len(states) == 7
    assert set(states.values()) == {"done"}
    nodes = map(
        json.loads, application.run("trace", "ivan@example.com", "--json").stdout.splitlines()
    )
    (welcome,) = (node for node in nodes if node["name"] == "send_welcome_email")
    lost, failed, *_ = welcome["failures"]
    assert (lost["attempt"], lost["owner"].split("@")[0]) == (1, "worker-1")
    assert (failed["attempt"], failed["owner"]) == (2, welcome["owner"])


def test_a_trace_on_a_terminal_is_redrawn_until_ctrl_c(application: Application) -> None:
    """Exit code 130, without a word; the terminal shows its cursor again."""
    application.crash("before the fan-out", "register-user", "Иван", "ivan@example.com")
    following = on_terminal(application, "trace", "ivan@example.com", "--follow")

    shown = b""
    with following as (process, pieces):
        while b"\x1b[1A" not in shown:  # the tree has been drawn a second time
            shown += next(pieces)
        process.send_signal(signal.SIGINT)
        shown += b"".join(pieces)
        _, errors = process.communicate(timeout=LIMIT_SECONDS)

    assert (process.returncode, errors) == (130, b"")
    assert "└── send_welcome_email".encode() in re.sub(rb"\x1b\[\d*m", b"", shown)
    assert b"\x1b[?25h" in shown.rpartition(b"\x1b[?25l")[2]
