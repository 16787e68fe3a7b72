"""What an extra brings is enough for its purpose, and errors name the one that is missing."""

import os
import subprocess
import sys
from importlib import metadata
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
from aftercommit import InvalidValue
from anyio import sleep_forever
from packaging.requirements import Requirement
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg

from aftercommit_tests.environments import run
from aftercommit_tests.inside.process import run as run_on
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = pytest.mark.check

FOUND = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
WITH_EXTRA = (sys.executable, "-m", "aftercommit_tests.with_extra")
DRIVERS = {
    ("sqlite", "asyncio"): "sqlite+aiosqlite",
    ("postgresql", "asyncio"): "postgresql+asyncpg",
    ("psycopg", "asyncio"): "postgresql+psycopg",
    ("trio", "trio"): "sqlite+anyio",
    ("trio", "asyncio"): "postgresql+anyio",
}


@pytest.mark.parametrize(("extra", "loop"), DRIVERS)
def test_an_extra_is_enough_to_deliver_an_event(
    extra: str, loop: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Nobody installs what belongs to another database, or to another event loop."""
    scheme, _, driver = DRIVERS[extra, loop].partition("+")
    url = f"sqlite:///{tmp_path}/shop.db"
    if scheme == "postgresql":
        url = request.getfixturevalue("empty_postgres_url")
    url = url.replace(scheme, f"{scheme}+{driver}", 1)
    program = str(Path(__file__).with_name("one_delivery.py"))

    told = run(*WITH_EXTRA, extra, program, loop, url, environment=FOUND)

    assert told == f"order 7 is confirmed over {driver}\n"


MISSING = {
    ("asyncio", "sqlite:///things.db", "aiosqlite"): "sqlite",
    ("asyncio", "sqlite+anyio:///things.db", "sqlalchemy-anyio"): "trio",
    ("asyncio", "postgresql://h/d", "asyncpg"): "postgresql",
    ("asyncio", "postgresql+psycopg://h/d", "psycopg"): "psycopg",
    ("asyncio", "postgresql+psycopg://h/d", "libpq"): "psycopg",
    ("asyncio", "postgresql+anyio://h/d", "sqlalchemy-anyio"): "trio",
    ("trio", "sqlite:///things.db", "sqlalchemy-anyio"): "trio",
    ("trio", "postgresql://h/d", "psycopg"): "trio",
    ("trio", "postgresql+psycopg://h/d", "sqlalchemy-anyio"): "trio",
}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("anyio_backend", "url", "missing", "extra"), [(*case, MISSING[case]) for case in MISSING]
)
async def test_without_a_driver_the_error_names_its_extra(
    url: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At start, in one sentence; a traceback of an import would look like a bug."""
    if missing == "sqlalchemy-anyio":
        known = {name: load for name, load in registry.impls.items() if "anyio" not in name}
        monkeypatch.setattr(registry, "impls", known)
        monkeypatch.setattr(metadata, "entry_points", lambda **_: EntryPoints())
    elif missing == "libpq":
        monkeypatch.setattr(PGDialectAsync_psycopg, "import_dbapi", without_libpq)
    else:
        monkeypatch.setitem(sys.modules, missing, None)

    told = f'^database URL needs {missing}; pip install "aftercommit[{extra}]"$'
    with pytest.raises(InvalidValue, match=told.replace("[", r"\[")):
        async with open_database(url):
            pass


def without_libpq() -> None:
    """Fail as psycopg does."""
    raise ImportError("no pq wrapper available")


COMMANDS = {
    "brokers": ("--broker-urls amqp://h/ worker", "aio_pika"),
    "metrics": ("--metrics-port 1 worker", "prometheus_client"),
    "operations": ("history", "rich"),
    "operations, for logs": ("--log-format json check", "pythonjsonlogger"),
    "web": ("serve", "fastapi"),
}


@pytest.mark.parametrize("extra", COMMANDS)
def test_without_its_libraries_a_command_names_their_extra(extra: str, tmp_path: Path) -> None:
    """A traceback would look like a bug in the program."""
    (arguments, library), extra = COMMANDS[extra], extra.partition(",")[0]
    program = str(Path(__file__).with_name("things") / "__main__.py")
    found = {**FOUND, "THINGS_DATABASE_URL": f"sqlite:///{tmp_path}/things.db"}

    ran = subprocess.run(
        [*WITH_EXTRA, "sqlite", program, *arguments.split()],
        env=found,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert f'needs {library}; pip install "aftercommit[{extra}]"' in ran.stderr


def test_without_trio_the_error_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone who asks for another event loop has to install it."""
    monkeypatch.setitem(sys.modules, "trio", None)

    with pytest.raises(InvalidValue, match=r'not installed; pip install "aftercommit\[trio\]"'):
        run_on(sleep_forever, event_loop="trio")


def test_the_core_needs_no_driver_and_an_extra_only_its_own() -> None:
    """Who delivers on PostgreSQL has no driver of SQLite, and nobody has Trio who did not ask."""
    needed = [*map(Requirement, metadata.requires("aftercommit") or ())]
    drivers = {"aiosqlite", "asyncpg", "psycopg", "sqlalchemy-anyio", "trio"}

    def brought_by(extra: str) -> set[str]:
        those = [
            each for each in needed if not each.marker or each.marker.evaluate({"extra": extra})
        ]
        return {each.name for each in those} & drivers

    assert brought_by("") == brought_by("web") == brought_by("operations") == set()
    assert brought_by("sqlite") == {"aiosqlite"}
    assert brought_by("postgresql") == {"asyncpg"}
    assert brought_by("psycopg") == {"psycopg"}
    assert brought_by("trio") == {"psycopg", "sqlalchemy-anyio", "trio"}
