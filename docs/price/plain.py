"""A plain function: the row, and then the e-mail. Nothing else is read, written or remembered."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from trying import OLD, USER, Change, send_notice, tried


# begin
def change_email(connection: sqlite3.Connection, user_id: str, new: str) -> None:
    with connection:
        (old,) = connection.execute("SELECT email FROM users WHERE id = ?", (user_id,)).fetchone()
        connection.execute("UPDATE users SET email = ? WHERE id = ?", (new, user_id))
    send_notice(old)  # who is killed here has lost it


# end


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Change]:
    with closing(sqlite3.connect(folder / "plain.db")) as connection:
        connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, email TEXT UNIQUE);"
            f"INSERT OR IGNORE INTO users VALUES ('{USER}', '{OLD}')"
        )

        async def change(new: str) -> None:
            change_email(connection, USER, new)

        yield change


if __name__ == "__main__":
    tried(opened)
