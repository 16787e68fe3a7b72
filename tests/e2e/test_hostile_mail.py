"""Real processes, and mail servers that never come to an end: they hold up nobody for long."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.smtp.hostile import dripping, endless, misbehaving, silent
from tests.programs import LIMIT_SECONDS, Program, stop, wait_until

EMAILS = {"send_welcome_email", "send_coupon_email"}
HOSTILE = {"drips": dripping, "greets without end": endless, "says nothing": silent}
REGISTER = ("register-user", "Иван", "ivan@example.com")


def test_a_registration_ends_whatever_the_mail_server_does(tmp_path: Path, backend: str) -> None:
    """It is answered, and its e-mail is outstanding: ten seconds are enough for any mail server."""
    with ExitStack() as stack:
        programs, processes = [], []
        for name, behaviour in HOSTILE.items():
            server = stack.enter_context(misbehaving(behaviour))
            program = Program(tmp_path / name, {"event_loop": backend, "mail_url": server.url})
            program.folder.mkdir()
            programs.append(program)
            processes.append(stack.enter_context(program.running(*REGISTER)))
        ends = [(*each.communicate(timeout=LIMIT_SECONDS), each.returncode) for each in processes]

    for out, errors, code in ends:
        assert code == 0
        assert "user registered: ivan@example.com" in out
        assert "1 delivery will be retried: send_welcome_email" in errors
    for program in programs:
        [(error,)] = program.rows(
            "SELECT last_error FROM aftercommit_deliveries WHERE last_error > ''"
        )
        assert "took longer than 10 s" in error


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_worker_ends_in_time_whatever_the_mail_server_does(
    hostile: str, program: Program
) -> None:
    """A deployment must not wait for a mail server; its e-mails are released for the next worker.

    The grace is shorter than the ten seconds of an e-mail, after which the attempt would count.
    """
    with misbehaving(HOSTILE[hostile]) as server:
        program.settings |= {"mail_url": server.url, "shutdown_grace_seconds": "0.5"}
        assert program.run(*REGISTER, dispatch="worker").returncode == 0
        with program.running("worker") as worker:
            wait_until(lambda: server.connections)
            assert stop(worker) == 0

    assert program.outstanding() == [("send_welcome_email", 0)]


def test_a_mail_server_that_says_nothing_leaves_hands_for_all_other_work(program: Program) -> None:
    """Forty users get their log line, coupon and view at once; only e-mails are outstanding."""
    rows = "".join(f"Иван,user{number}@example.com\n" for number in range(40))
    (program.folder / "users.csv").write_text(f"name,email\n{rows}")
    program.settings |= {"worker_concurrency": "10"}
    program.run("add-coupon-batch", "WELCOME", "40")
    with misbehaving(silent) as server:
        program.settings |= {"mail_url": server.url}
        assert program.run("import-users", "users.csv").returncode == 0
        with program.running("worker"):
            wait_until(lambda: {name for name, _ in program.outstanding()} <= EMAILS)

    assert program.rows("SELECT count(*) FROM coupons") == [(40,)]
    assert program.rows("SELECT count(coupon_code) FROM user_view") == [(40,)]
