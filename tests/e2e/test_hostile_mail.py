"""Real processes, and mail servers that never come to an end: they hold up nobody for long."""

import pytest

from tests.integration.smtp.hostile import endless, misbehaving, scripted, silent
from tests.programs import Program, stop, wait_until

EMAILS = {"send_welcome_email", "send_coupon_email"}
DRIPPING = scripted(stuck_at="banner")
HOSTILE = {"drips": DRIPPING, "greets without end": endless, "says nothing": silent}
REGISTER = ("register-user", "Иван", "ivan@example.com")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_worker_ends_in_time_whatever_the_mail_server_does(
    hostile: str, program: Program
) -> None:
    """A deployment must not wait for a mail server; its e-mail is released for the next worker.

    The grace is shorter than the ten seconds of an e-mail, after which the attempt would count.
    """
    with misbehaving(HOSTILE[hostile]) as server:
        program.settings |= {"mail_url": server.url, "shutdown_grace_seconds": "0.5"}
        assert program.run(*REGISTER, dispatch="worker").returncode == 0
        with program.running("worker") as worker:
            wait_until(lambda: server.connections)
            assert stop(worker) == 0

    assert program.outstanding() == [("send_welcome_email", 0)]
