"""SQLite files to measure with: on the disk this project is on, each for one round."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from allocation.bootstrap import bootstrap
from benchmarks.application import COUPONS, settings_for

PLACE = Path(__file__).parents[1]


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for a while."""
    with TemporaryDirectory(dir=PLACE, prefix=".benchmarks-") as name:
        yield Path(name)


@contextmanager
def new_file() -> Iterator[Path]:
    """Make a database with the schema and a batch of coupons, for a while."""
    with folder() as place:
        file = place / "allocation.db"
        file.write_bytes(_with_schema())
        yield file


@contextmanager
def new_url(driver: str) -> Iterator[str]:
    """Make such a database for a while, and return its URL for a driver."""
    with new_file() as file:
        yield f"sqlite+{driver}:///{file}"


@cache
def _with_schema() -> bytes:
    with folder() as place:
        file = place / "template.db"
        anyio.run(_prepare, f"sqlite:///{file}")
        shutil.copy(file, place / "copy.db")
        return (place / "copy.db").read_bytes()


async def _prepare(url: str) -> None:
    async with bootstrap(settings_for(url)) as application:
        await application.bus.handle(COUPONS)
