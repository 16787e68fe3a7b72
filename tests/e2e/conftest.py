"""Fixtures of real processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.mail import Mail, MailFolder
from tests.e2e.processes import Application
from tests.worlds import template


@pytest.fixture
def mail_folder(tmp_path: Path) -> MailFolder:
    """A folder for e-mails."""
    return MailFolder(tmp_path / "mail")


@pytest.fixture
def mail(mail_server: Mail) -> Mail:
    """Where e-mails arrive."""
    return mail_server


@pytest.fixture
def application(tmp_path: Path, backend: str) -> Application:
    """The application, without a mail server: e-mails are kept in a folder."""
    return Application(tmp_path, backend=backend)


@pytest.fixture(
    params=[
        "sqlite",
        "postgres",
    ]
)
def on_each(request: pytest.FixtureRequest, tmp_path: Path, backend: str) -> Application:
    """The same on each kind of database, which is empty, but has its schema."""
    application = Application(tmp_path, backend=backend)
    if request.param == "postgres":
        application.postgres_url = request.getfixturevalue("postgres_url")
        return application
    application.database.write_bytes(template())
    return application


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that is full, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    yield writing
    os.close(writing)
    os.close(reading)
