"""Each event loop with each of its drivers, and a server that can be taken away."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from aftercommit_tests.builders import on
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.inside.postgresql import timeouts
from aftercommit_tests.proxy import Proxy, postgres_behind_a_proxy

PLACES = [
    ("asyncio", "asyncpg"),
    ("asyncio", "psycopg"),
    ("asyncio", "anyio"),
    ("trio", "anyio"),
]


@pytest.fixture(params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """An event loop, and one of its drivers."""
    return cast("tuple[str, str]", request.param)


@pytest.fixture
def anyio_backend(place: tuple[str, str]) -> str:
    return place[0]


@pytest.fixture
def url(postgres_url: str, place: tuple[str, str]) -> str:
    """A new database with the current schema, by a URL that names the driver."""
    return on(place[1], postgres_url)


@pytest.fixture
def database_url(url: str) -> str:
    """What `world` is opened on."""
    return url


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[str, str]
) -> CommandLine:
    """The command line in this process, on this event loop."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, backend=place[0])


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a call of the driver end a second after the time limit of a handler."""
    monkeypatch.setattr(timeouts, "RESPONSE_SECONDS", 1.0)


@pytest.fixture
def proxied(
    postgres_url: str, free_tcp_port: int, place: tuple[str, str], soon: None
) -> Iterator[tuple[str, Proxy]]:
    """The same database behind a proxy, and not for long if nobody answers."""
    with postgres_behind_a_proxy(postgres_url, port=free_tcp_port) as (url, proxy):
        yield on(place[1], url), proxy
