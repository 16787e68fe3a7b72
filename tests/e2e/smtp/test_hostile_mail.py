"""Real processes and mail servers that never come to an end: they hold up nobody for long."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.processes import LIMIT_SECONDS, Application, owed, stop, wait_until
from tests.integration.smtp.hostile import dripping, endless, misbehaving, silent

EMAILS = {"send_welcome_email", "send_coupon_email"}
HOSTILE = {"drips": dripping, "greets without end": endless, "says nothing": silent}


def test_a_registration_ends_whatever_the_mail_server_does(tmp_path: Path, backend: str) -> None:
    """It is answered, and its e-mails are owed: ten seconds are enough for any mail server."""
    with ExitStack() as stack:
        processes, applications = [], []
        for name, behaviour in HOSTILE.items():
            server = stack.enter_context(misbehaving(behaviour))
            application = Application(tmp_path / name, backend=backend)
            application.folder.mkdir()
            environment = application.environment(mail_url=server.url)
            command = ("register-user", "Иван", "ivan@example.com")
            processes.append(application.start(*command, environment=environment))
            applications.append(application)
        ends = [(*each.communicate(timeout=LIMIT_SECONDS), each.returncode) for each in processes]

    for out, errors, code in ends:
        assert code == 0
        assert "[Log Service]    user registered: ivan@example.com" in out
        assert "1 delivery will be retried: send_welcome_email in 1 s" in errors
    for application in applications:
        [(error,)] = application.rows(
            "SELECT last_error FROM aftercommit_deliveries WHERE last_error > ''"
        )
        assert "took longer than 10 s" in error


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_worker_ends_in_time_whatever_the_mail_server_does(
    hostile: str, tmp_path: Path, backend: str
) -> None:
    """A deployment must not wait for a mail server; the e-mails are given back."""
    application = Application(tmp_path, backend=backend, settings={"shutdown_grace_seconds": "1"})
    with misbehaving(HOSTILE[hostile]) as server:
        url = server.url
        command = ("register-user", "Иван", "ivan@example.com")
        assert application.run(*command, mail_url=url, dispatch="worker").returncode == 0
        with application.running("worker", mail_url=url) as worker:
            wait_until(lambda: server.connections)
            assert stop(worker) == 0

    # after a second of grace: after the ten that an e-mail may take, the attempt would count
    assert owed(application) == [("send_welcome_email", 0)]


def test_those_who_go_on_say_that_they_keep_emails(tmp_path: Path, backend: str) -> None:
    """A worker that nobody gave a mail server does others' e-mails, too."""
    application = Application(tmp_path, backend=backend)

    result = application.run("worker", "--until-idle")

    assert "WARNING" in result.stderr
    assert "e-mails are not sent, but kept in allocation-mail" in result.stderr


def test_a_mail_server_that_says_nothing_leaves_hands_for_all_other_work(
    tmp_path: Path, backend: str
) -> None:
    """Forty users get their log line, coupon and view at once; only e-mails are still owed."""
    application = Application(tmp_path, backend=backend, settings={"worker_concurrency": "10"})
    rows = "".join(f"Иван,user{number}@example.com\n" for number in range(40))
    (tmp_path / "users.csv").write_text(f"name,email\n{rows}")
    application.run("add-coupon-batch", "WELCOME", "40")
    with misbehaving(silent) as server:
        to_workers = {"mail_url": server.url, "dispatch": "worker"}
        assert application.run("import-users", "users.csv", **to_workers).returncode == 0
        with application.running("worker", mail_url=server.url):
            wait_until(lambda: {name for name, _ in owed(application)} <= EMAILS)

    assert application.rows("SELECT count(*) FROM coupons") == [(40,)]
    assert application.rows("SELECT count(coupon_code) FROM user_view") == [(40,)]
