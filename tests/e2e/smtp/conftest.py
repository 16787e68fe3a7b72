"""The application with a mail server."""

from pathlib import Path

import pytest

from tests.e2e.processes import Application
from tests.e2e.smtp.mail_server import MailServer


@pytest.fixture
def application(tmp_path: Path, mail: MailServer, backend: str) -> Application:
    """The application, with a mail server."""
    return Application(tmp_path, mail, backend=backend)
