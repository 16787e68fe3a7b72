"""The application with a mail server."""

from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller

from tests.e2e.smtp.mail_server import MailServer


@pytest.fixture
def mail_server(free_tcp_port: int) -> Iterator[MailServer]:
    """A real mail server on a free port."""
    server = MailServer()
    controller = Controller(server, hostname="127.0.0.1", port=free_tcp_port)
    controller.start()
    server.url = f"smtp://127.0.0.1:{free_tcp_port}"
    yield server
    controller.stop()
