"""The places to store things, real and fake, that the contract suites run against."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from allocation.config import Settings
from tests.command_line import Application
from tests.worlds import FakeWorld, World, sql_world, sqlite_url

DATABASES = [
    "sqlite",
    "postgres",
]


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A new database of each kind; the one on PostgreSQL has its schema already."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings for such a database; e-mails are kept in a folder."""
    return Settings(database_url=database_url, mail_url=f"maildir:{tmp_path / 'mail'}")


@pytest.fixture(params=["fake", *DATABASES])
def world_url(request: pytest.FixtureRequest) -> str | None:
    """The same, and None for the fakes."""
    if request.param == "fake":
        return None
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind, without a schema."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@pytest.fixture
async def world(world_url: str | None) -> AsyncIterator[World]:
    """A new, empty world of each kind."""
    if world_url is None:
        yield FakeWorld()
    else:
        async with sql_world(world_url) as world:
            yield world


@pytest.fixture
def application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> Iterator[Application]:
    """The command line, without a mail server: e-mails are kept in a folder."""
    monkeypatch.chdir(tmp_path)
    yield Application(tmp_path, backend)
    logging.basicConfig(handlers=[], force=True)
    for package in ("aftercommit", "allocation"):
        logging.getLogger(package).setLevel(logging.NOTSET)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows in each."""
    monkeypatch.setattr("aftercommit.extensions.operations.batched_transactions.BATCH_ROWS", 2)
