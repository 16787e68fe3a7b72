"""The file of an SQLite database: private, and of a bounded size."""

from pathlib import Path

import anyio
import pytest
from aftercommit.sql.database import Database
from aftercommit.sql.exceptions import DatabaseUnavailable
from anyio import to_thread
from sqlalchemy import text

from tests.builders import open_database
from tests.worlds import sqlite_url

pytestmark = pytest.mark.anyio


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_a_new_file_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    """There are names and addresses in it; and its log beside it."""
    async with (
        open_database(sqlite_url(tmp_path)) as database,
        database.write_transaction() as transaction,
    ):
        await transaction.execute(text("CREATE TABLE t (x)"))
        await transaction.commit()
        found = await to_thread.run_sync(modes, tmp_path)

    assert found == dict.fromkeys(["test.db", "test.db-wal", "test.db-shm"], 0o600)


async def test_a_new_file_behind_a_link_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    """The link was made before the file it leads to, such as one on another disk."""
    link, target = anyio.Path(tmp_path, "test.db"), anyio.Path(tmp_path, "target.db")
    await link.symlink_to(target)

    async with open_database(sqlite_url(tmp_path)) as database, database.read_transaction():
        pass

    assert (await target.stat()).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", ["ro", "rw"])
async def test_a_file_that_may_not_be_made_is_not_made(tmp_path: Path, mode: str) -> None:
    """Not even an empty one."""
    url = f"sqlite:///file:{tmp_path}/test.db?mode={mode}&uri=true"
    async with open_database(url) as database:
        with pytest.raises(DatabaseUnavailable, match="unable to open database file"):
            async with database.read_transaction():
                pass

    assert await to_thread.run_sync(modes, tmp_path) == {}


async def test_the_log_shrinks_after_a_long_reader(tmp_path: Path) -> None:
    """While somebody reads it can only grow; it must not fill the disk for ever."""

    def size_of_log() -> int:
        return (tmp_path / "test.db-wal").stat().st_size

    async def write(database: Database, size: int) -> None:
        async with database.write_transaction() as transaction:
            await transaction.execute(text("INSERT INTO t VALUES (zeroblob(:n))"), {"n": size})
            await transaction.commit()

    async with open_database(sqlite_url(tmp_path)) as database:
        async with database.write_transaction() as transaction:
            await transaction.execute(text("CREATE TABLE t (x)"))
            await transaction.commit()
        async with database.read_transaction() as reader:
            await reader.execute(text("SELECT * FROM t"))
            await write(database, 20_000_000)
            assert await to_thread.run_sync(size_of_log) > 20_000_000

        for _ in range(3):
            await write(database, 1)

        assert await to_thread.run_sync(size_of_log) <= 16 * 1024**2
