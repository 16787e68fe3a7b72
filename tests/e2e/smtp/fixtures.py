"""The application with a mail server.

Each run loads this file, so a fixture imports what needs a library of the extension.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.smtp.mail_server import MailServer


@pytest.fixture
def mail_server(free_tcp_port: int) -> "Iterator[MailServer]":
    """A real mail server on a free port."""
    from tests.e2e.smtp.mail_server import MailServer
    from tests.integration.smtp.sending import keeping

    server = MailServer(url=f"smtp://127.0.0.1:{free_tcp_port}")
    with keeping(server, free_tcp_port):
        yield server
