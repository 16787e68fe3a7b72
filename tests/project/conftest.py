"""Fixtures of the repository's own tests: a mail server, and the application beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aftercommit import testing

from allocation.entrypoints.app import APP
from tests.integration.smtp.sending import keeping
from tests.project.mail_server import MailServer
from tests.project.processes import Application


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


@pytest.fixture
def postgres_url(postgres_copy: str) -> str:
    """A new database on PostgreSQL."""
    return postgres_copy


@pytest.fixture(params=["sqlite", "postgres"])
def on_each(request: pytest.FixtureRequest, tmp_path: Path, backend: str) -> Application:
    """The same on each kind of database, which is empty, but has its schema."""
    application = Application(tmp_path, backend=backend)
    if request.param == "postgres":
        application.postgres_url = request.getfixturevalue("postgres_copy")
    else:
        testing.sqlite_url(APP, tmp_path, application.database.name)
    return application
