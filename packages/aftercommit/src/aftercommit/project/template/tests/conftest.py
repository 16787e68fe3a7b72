"""What the tests share: the service, on databases of the engine's test kit."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aftercommit import App, Application, IdempotencyKey

from shop.bootstrap import bootstrap
from shop.config import Settings
from shop.entrypoints.app import APP
from shop.service_layer.ports import Email


@dataclass
class SentEmails:
    """The port in tests: it keeps what was sent, and raises its `failure`, if there is one."""

    subjects: list[str] = field(default_factory=list)
    recipients: dict[IdempotencyKey, str] = field(default_factory=dict)
    failure: Exception | None = None

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        if self.failure:
            raise self.failure
        if self.recipients.setdefault(idempotency_key, email.recipient) != email.recipient:
            raise AssertionError("one key, two recipients: record an event for each of them")
        self.subjects.append(email.subject)


@pytest.fixture(scope="session")
def app() -> App[Settings]:
    """The service, for the engine's fixtures, which make databases for it."""
    return APP


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """A folder for e-mails, which does not exist yet."""
    return tmp_path / "mail"


@pytest.fixture
def settings(database_url: str, mail: Path) -> Settings:
    """Settings for a new database of each kind."""
    return APP.load({"database_url": database_url, "mail_url": f"maildir:{mail}"})


@pytest.fixture
def emails() -> SentEmails:
    """What was sent."""
    return SentEmails()


@pytest.fixture
async def application(sqlite_url: str, emails: SentEmails) -> AsyncIterator[Application]:
    """The service on a SQLite file; e-mails are only kept."""
    async with bootstrap(APP, Settings(database_url=sqlite_url), emails=emails) as application:
        yield application
