"""Ctrl-C in the middle of a command."""

import signal
from pathlib import Path
from uuid import UUID

from tests.e2e.processes import LIMIT_SECONDS, Application
from tests.e2e.smtp.mail_server import MailServer


def test_an_interrupted_registration_says_how_to_ask_again(
    tmp_path: Path, mail_server: MailServer, backend: str
) -> None:
    """The id was made by the program, and is needed to repeat the command."""
    application, mail_server.hold = Application(tmp_path, mail_server, backend=backend), True
    with application.running("register-user", "Иван", "ivan@example.com") as registering:
        assert mail_server.holding.wait(LIMIT_SECONDS)
        registering.send_signal(signal.SIGINT)
        _, said = registering.communicate(timeout=LIMIT_SECONDS)
    mail_server.release.set()

    assert registering.returncode == 130
    [(user_id,)] = application.rows("SELECT id FROM users")
    assert said.endswith(f"interrupted; repeat it with --user-id {UUID(user_id)}\n")
