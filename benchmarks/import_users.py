# extension: operations
"""Measures `allocation import-users` on SQLite, as a user runs it: a process, with its start.

The limit is sqlite3 that inserts the rows this leaves, 100 users to a transaction: a command and an
event of the chunk, and of each user the row, an event and deliveries.
"""

import csv
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from benchmarks.files import new_file
from benchmarks.measuring import Contest, Effort, Way
from benchmarks.registration_by_hand import PRAGMAS
from benchmarks.registration_sql import (
    OF_REGISTERED,
    Values,
    delivery_rows,
    event_row,
    statements,
)

USERS = 20_000
TO_A_TRANSACTION = 100


class Importing:
    """Rounds with so many users."""

    def __init__(self, users: int) -> None:
        self._users = users

    def ours(self) -> float:
        """Run the command, as it is run by a user."""
        with new_file() as file:
            rows = file.with_suffix(".csv")
            self._write(rows)
            url = f"--database-url=sqlite:///{file}"
            command = [sys.executable, "-m", "allocation", url, "import-users", str(rows)]
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds = time.perf_counter() - started
            self._check(file)
        return self._users / seconds

    def raw(self) -> float:
        """Insert the same rows by sqlite3."""
        with new_file() as file, closing(sqlite3.connect(file, isolation_level=None)) as connection:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            texts, started = statements("sqlite"), time.perf_counter()
            for first in range(0, self._users, TO_A_TRANSACTION):
                connection.execute("BEGIN IMMEDIATE")
                story = uuid4().hex
                connection.executemany(texts["note"], [{"id": story, "story": story}])
                for number in range(first, first + TO_A_TRANSACTION):
                    for name, values in _rows_of(number, story):
                        connection.executemany(texts[name], values)
                connection.execute("COMMIT")
            return self._users / (time.perf_counter() - started)

    def _write(self, rows: Path) -> None:
        with rows.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("name", "email"))
            writer.writerows(("Иван", f"{n}@example.com") for n in range(self._users))

    def _check(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            for table in ("users", "deliveries"):
                (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert count == self._users * (1 if table == "users" else len(OF_REGISTERED))


def _rows_of(number: int, story: str) -> Iterator[tuple[str, Sequence[Values]]]:
    user, event = uuid4().hex, uuid4().hex
    email = f"{number}@example.com"
    yield "add user", [{"id": user, "name": "Иван", "email": email, "key": email}]
    registered = event_row(event, "user_registered", user, story, cause=story, handler=None)
    yield "add event", [{**registered, "version": 2}]
    yield "add delivery", delivery_rows(event, OF_REGISTERED)


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    rounds = Importing(USERS)
    way = Way(name="sqlite3", once=rounds.raw, is_limit=True)
    what = f"{USERS:,} users"
    yield Contest(what=what, unit="users/s", ours=rounds.ours, ways=[way], rounds=3)
