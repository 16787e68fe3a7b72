"""Fixtures of the engine's tests: databases, worlds on them, and real processes."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aftercommit import testing
from sqlalchemy import make_url

from aftercommit_tests import later_schema
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.inside.stored import ENGINE
from aftercommit_tests.processes import Installation
from aftercommit_tests.things.app import APP, Settings
from aftercommit_tests.world import World, open_world

DATABASES = ["sqlite", "postgres"]

NewWorld = Callable[..., Awaitable[World]]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new database file with the current schema."""
    return testing.sqlite_url(APP, tmp_path, "things.db")


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a database with the current schema, to make others from."""
    with testing.postgresql_url(postgres_server) as url:
        testing.migrate(APP, url)
        yield str(make_url(url).database)


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """A new database with the current schema; it is gone after the test."""
    with testing.postgresql_url(postgres_server, template=postgres_template) as url:
        yield url


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A new database of each kind, with the current schema."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind, without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'things.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def next_engine() -> Iterator[None]:
    """The program as its next version, whose engine needs one more revision."""
    ENGINE.folders.append(later_schema.FOLDER / ENGINE.name)
    yield
    ENGINE.folders.pop()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings for such a database."""
    return Settings(database_url=database_url, bell_file=str(tmp_path / "bell.txt"))


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A new, empty world on each kind of database."""
    async with open_world(database_url) as world:
        yield world


@pytest.fixture
async def new_world(sqlite_url: str) -> AsyncIterator[NewWorld]:
    """What opens a new world on SQLite, with what `World` may be given: handlers, a policy."""
    async with AsyncExitStack() as opened:

        async def open_one(**changed: Any) -> World:
            return await opened.enter_async_context(open_world(sqlite_url, **changed))

        yield open_one


@pytest.fixture
def installation(tmp_path: Path, backend: str) -> Installation:
    """The application as a process, on a SQLite file that is not there yet."""
    return Installation(tmp_path, backend=backend)


@pytest.fixture(params=DATABASES)
def on_each(request: pytest.FixtureRequest, tmp_path: Path, backend: str) -> Installation:
    """The same on each kind of database, which is empty, but has its schema."""
    installation = Installation(tmp_path, backend=backend)
    if request.param == "postgres":
        installation.postgres_url = request.getfixturevalue("postgres_url")
    else:
        testing.sqlite_url(APP, tmp_path, installation.database.name)
    return installation


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that is full, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for piece in (b"x" * 4096, b"x"):
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writing, piece)
    os.set_blocking(writing, True)
    yield writing
    os.close(writing)
    os.close(reading)


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> CommandLine:
    """The command line in this process, on a SQLite file that is not there yet."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, backend=backend)
