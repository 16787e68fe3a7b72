"""A person is erased by a command of its own process, also while a worker runs."""

import os
import pty
import re
import subprocess
import sys

from tests.e2e.processes import LIMIT_SECONDS, Application, wait_until

ANNA = ("register-user", "Анна", "anna@example.com")
IS_LOGGED = "SELECT 1 FROM registration_log"


def registered(application: Application, **settings: str) -> str:
    """Register Anna; return her id."""
    printed = application.run(*ANNA, **settings).stdout
    found = re.search(r"as ([0-9a-f-]{36})", printed)
    assert found, printed
    return found[1]


def test_a_person_is_erased_while_a_worker_sends(on_each: Application) -> None:
    """The history goes on without the name; the e-mails that were kept are gone."""
    application = on_each
    application.run("add-coupon-batch", "WELCOME", "5")
    user_id = registered(application, dispatch="worker")
    with application.running("worker"):
        wait_until(lambda: application.rows(IS_LOGGED))
        result = application.run("erase-user", user_id, "--yes")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"user {user_id}: " in result.stdout
    assert "; this cannot be undone\nerased, with " in result.stdout

    again = application.run("erase-user", user_id)
    idle = application.run("worker", "--until-idle")

    assert (again.returncode, idle.returncode) == (0, 0)
    assert application.run("erase-user", user_id).stdout.endswith("0 deliveries discarded\n")
    for command in (("users",), ("history",), ("trace", user_id), ("deliveries", "list", "--all")):
        printed = application.run(*command).stdout
        assert "erased" in printed
        assert not re.search("анна|anna", printed, re.IGNORECASE), printed
    assert list(application.folder.glob("*/new/*")) == []


def test_an_unknown_user_is_refused(application: Application) -> None:
    """And what is no id is not understood: an address would stay in the history of a shell."""
    unknown = application.run("erase-user", "7d3c1a52-0000-4000-8000-000000000000", "--yes")
    address = application.run("erase-user", "anna@example.com")

    assert unknown.returncode == 1
    assert unknown.stderr == "error: there is no user 7d3c1a52-0000-4000-8000-000000000000\n"
    assert address.returncode == 2


def test_a_person_at_a_terminal_is_asked_first(application: Application) -> None:
    """What was erased comes back by no command."""
    user_id = registered(application)
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "allocation", "erase-user", user_id],
        cwd=application.folder,
        env=application.environment(),
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.write(parent, b"n\n")
        printed, question = process.communicate(timeout=LIMIT_SECONDS)
    os.close(parent)
    os.close(child)

    assert process.returncode == 0
    assert re.fullmatch(rf"user {user_id}: .+, 0 outstanding .+; this cannot be undone\n", printed)
    assert "Go on? [y/N]" in question
    assert application.rows("SELECT name FROM users") == [("Анна",)]
