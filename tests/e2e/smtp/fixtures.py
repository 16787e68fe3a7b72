"""The application with a mail server."""

from collections.abc import Iterator

import pytest

from tests.e2e.smtp.mail_server import MailServer
from tests.integration.smtp.sending import keeping


@pytest.fixture
def mail_server(free_tcp_port: int) -> Iterator[MailServer]:
    """A real mail server on a free port."""
    server = MailServer(url=f"smtp://127.0.0.1:{free_tcp_port}")
    with keeping(server, free_tcp_port):
        yield server
