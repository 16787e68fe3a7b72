"""Fixtures of the application: it is the real one, on a database of the test's own."""

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from aftercommit import Application, testing
from aftercommit.extensions.smtp.settings import SmtpSettings

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.entrypoints.app import APP
from tests.commands import Shell
from tests.email_senders import RecordingEmailSender
from tests.programs import Program

pytest.register_assert_rewrite("tests.repositories_contract")


@pytest.fixture
def emails() -> RecordingEmailSender:
    """What has been sent by e-mail."""
    return RecordingEmailSender()


@pytest.fixture
def app_settings(tmp_path: Path) -> Settings:
    """Settings for a new SQLite file with the current schema."""
    url = testing.sqlite_url(APP, tmp_path)
    return Settings(database_url=url, marketing_email="marketing@example.com")


@pytest.fixture
async def app(app_settings: Settings, emails: RecordingEmailSender) -> AsyncIterator[Application]:
    """The application on SQLite."""
    async with bootstrap(APP, app_settings, notifications=emails) as application:
        yield application


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> Iterator[str]:
    """The name of a database with the current schema, of which others are copies."""
    with testing.postgresql_url(postgres_server) as url:
        testing.migrate(APP, url)
        yield str(sa.make_url(url).database)


@pytest.fixture
def postgres_copy(postgres_server: str, migrated_postgres: str) -> Iterator[str]:
    """The URL of a new database on PostgreSQL."""
    with testing.postgresql_url(postgres_server, template=migrated_postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def each_settings(
    request: pytest.FixtureRequest, app_settings: Settings, tmp_path: Path
) -> Settings:
    """Settings for each kind of database; e-mails are kept in a folder."""
    of_mail = SmtpSettings(mail_url=f"maildir:{tmp_path / 'mail'}")
    settings = replace(app_settings, of_extensions=(of_mail,))
    if request.param == "sqlite":
        return settings
    return replace(settings, database_url=request.getfixturevalue("postgres_copy"))


@pytest.fixture
async def each_app(
    each_settings: Settings, emails: RecordingEmailSender
) -> AsyncIterator[Application]:
    """The application on each kind of database."""
    async with bootstrap(APP, each_settings, notifications=emails) as application:
        yield application


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> Iterator[Shell]:
    """The command line without a mail server: e-mails are kept in a folder."""
    monkeypatch.chdir(tmp_path)
    yield Shell(tmp_path, backend)
    logging.basicConfig(handlers=[], force=True)
    for package in ("aftercommit", "allocation"):
        logging.getLogger(package).setLevel(logging.NOTSET)


@pytest.fixture
def program(tmp_path: Path, backend: str) -> Program:
    """The program as a process, without a mail server: e-mails are kept in a folder."""
    return Program(tmp_path, {"event_loop": backend})
