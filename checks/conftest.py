"""Fixtures of the repository's checks: a mail server, and the application beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aftercommit_tests.extensions.smtp.sending import keeping

from checks.mail_server import MailServer
from checks.processes import Application
from tests.conftest import (  # noqa: F401
    app_settings,
    each_settings,
    migrated_postgres,
    postgres_copy,
    program,
)


@pytest.fixture
def mail_server(free_tcp_port: int) -> Iterator[MailServer]:
    """A real mail server on a free port."""
    server = MailServer(url=f"smtp://127.0.0.1:{free_tcp_port}")
    with keeping(server, free_tcp_port):
        yield server


@pytest.fixture
def application(tmp_path: Path, backend: str) -> Application:
    """The application, without a mail server: e-mails are kept in a folder."""
    return Application(tmp_path, backend=backend)
