"""What the tests have in common: databases of their own, and the service on them."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from aftercommit import Application, IdempotencyKey, testing

from shop.bootstrap import bootstrap
from shop.config import Settings
from shop.entrypoints.app import APP


@dataclass
class SentEmails:
    """The port, as tests have it: it keeps what was sent, and fails if it has a failure."""

    subjects: list[str] = field(default_factory=list)
    recipients: dict[IdempotencyKey, str] = field(default_factory=dict)
    failure: Exception | None = None

    async def send(
        self, recipient: str, subject: str, text: str, *, idempotency_key: IdempotencyKey
    ) -> None:
        if self.failure:
            raise self.failure
        if self.recipients.setdefault(idempotency_key, recipient) != recipient:
            raise AssertionError("one key, two recipients: record an event for each of them")
        self.subjects.append(subject)


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests. The engine's own run on Trio, too."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server, which comes out of a wheel.

    Its folder is none of pytest's, which are closed to other users; for root, it is one.
    """
    with TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield testing.postgresql_server(Path(folder) / "data")


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A new database with the schema of the service; it is gone after the test."""
    with testing.postgresql_url(postgres_server) as url:
        testing.migrate(APP, url)
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new file with the schema of the service."""
    return testing.sqlite_url(APP, tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings for a new database of each kind."""
    url = str(request.getfixturevalue(f"{request.param}_url"))
    return Settings(database_url=url, mail_folder=str(tmp_path / "mail"))


@pytest.fixture
def emails() -> SentEmails:
    """What was sent."""
    return SentEmails()


@pytest.fixture
async def application(sqlite_url: str, emails: SentEmails) -> AsyncIterator[Application]:
    """The service on a SQLite file, with e-mails that are only kept."""
    async with bootstrap(APP, Settings(database_url=sqlite_url), emails=emails) as application:
        yield application
