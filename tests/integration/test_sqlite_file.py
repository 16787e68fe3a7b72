"""The file of an SQLite database: private, and noticed when it goes away under those who use it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from anyio import to_thread
from sqlalchemy import text

from allocation.adapters.database import Database, open_database
from allocation.adapters.exceptions import DatabaseUnavailable
from tests.worlds import sqlite_url

pytestmark = pytest.mark.anyio


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def delete(folder: Path) -> None:
    for path in folder.glob("test.db*"):
        path.unlink()


def put_in_its_place(folder: Path, *, version: int) -> None:
    delete(folder)
    with closing(sqlite3.connect(folder / "backup.db")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    (folder / "backup.db").rename(folder / "test.db")


async def version(database: Database) -> object:
    async with database.reading() as session:
        return (await session.execute(text("PRAGMA user_version"))).scalar_one()


async def test_a_new_file_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    """There are names and addresses in it; and its log beside it."""
    async with open_database(sqlite_url(tmp_path)) as database, database.writing() as session:
        await session.execute(text("CREATE TABLE t (x)"))
        await session.commit()
        found = await to_thread.run_sync(modes, tmp_path)

    assert found == dict.fromkeys(["test.db", "test.db-wal", "test.db-shm"], 0o600)


@pytest.mark.parametrize("mode", ["ro", "rw"])
async def test_a_file_that_may_not_be_made_is_not_made(tmp_path: Path, mode: str) -> None:
    """Not even an empty one."""
    url = f"sqlite:///file:{tmp_path}/test.db?mode={mode}&uri=true"
    async with open_database(url) as database:
        with pytest.raises(DatabaseUnavailable, match="unable to open database file"):
            async with database.reading():
                pass

    assert await to_thread.run_sync(modes, tmp_path) == {}


async def test_a_file_that_was_deleted_is_not_worked_on(tmp_path: Path) -> None:
    """All that is written to it would be gone with the process."""
    async with open_database(sqlite_url(tmp_path)) as database:
        assert await version(database) == 0
        await to_thread.run_sync(delete, tmp_path)

        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="test.db was deleted"):
                await version(database)

    assert await to_thread.run_sync(modes, tmp_path) == {}


async def test_a_file_that_was_exchanged_is_opened_anew(tmp_path: Path) -> None:
    """Somebody has put a backup in its place; the old one is nobody's any more."""
    async with open_database(sqlite_url(tmp_path)) as database:
        async with database.reading(), database.reading():
            pass
        await to_thread.run_sync(lambda: put_in_its_place(tmp_path, version=7))

        async with database.reading():
            assert await version(database) == 7
            assert await version(database) == 7


async def test_the_log_shrinks_after_a_long_reader(tmp_path: Path) -> None:
    """While somebody reads it can only grow; it must not fill the disk for ever."""

    def size_of_log() -> int:
        return (tmp_path / "test.db-wal").stat().st_size

    async def write(database: Database, size: int) -> None:
        async with database.writing() as session:
            await session.execute(text("INSERT INTO t VALUES (zeroblob(:n))"), {"n": size})
            await session.commit()

    async with open_database(sqlite_url(tmp_path)) as database:
        async with database.writing() as session:
            await session.execute(text("CREATE TABLE t (x)"))
            await session.commit()
        async with database.reading() as reader:
            await reader.execute(text("SELECT * FROM t"))
            await write(database, 20_000_000)
            assert await to_thread.run_sync(size_of_log) > 20_000_000

        for _ in range(3):
            await write(database, 1)

        assert await to_thread.run_sync(size_of_log) <= 16 * 1024**2
