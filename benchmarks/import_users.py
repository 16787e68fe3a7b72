"""Measures `allocation import-users` on SQLite, as a user runs it: a process, with its start.

The limit is sqlite3, which inserts the same rows, 100 users in a transaction: a command and an
event for each chunk, and for each user the row, an event and deliveries.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from uuid import uuid4

from benchmarks.databases import new_file
from benchmarks.measuring import Contest, Effort, Way
from benchmarks.registration_by_hand import sqlite_connection
from benchmarks.registration_by_hand_statements import (
    OF_REGISTERED,
    Values,
    delivery_rows,
    event_row,
    statements,
)

USERS = 20_000
TO_A_TRANSACTION = 100


def ours() -> float:
    """Run the command, as a user runs it."""
    with new_file() as file:
        rows = file.with_suffix(".csv")
        emails = (f"Иван,{n}@example.com\n" for n in range(USERS))
        rows.write_text("".join(("name,email\n", *emails)))
        url = f"--database-url=sqlite:///{file}"
        command = [sys.executable, "-m", "allocation", url, "import-users", str(rows)]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - started
        with sqlite_connection(file) as connection:
            for table, to_a_user in (("users", 1), ("aftercommit_deliveries", len(OF_REGISTERED))):
                (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert count == USERS * to_a_user
    return USERS / seconds


def raw() -> float:
    """Insert the same rows by sqlite3."""
    with new_file() as file, sqlite_connection(file) as connection:
        texts, started = statements("sqlite"), time.perf_counter()
        for first in range(0, USERS, TO_A_TRANSACTION):
            connection.execute("BEGIN IMMEDIATE")
            story = uuid4().hex
            connection.executemany(texts["note"], [{"id": story, "story": story}])
            for number in range(first, first + TO_A_TRANSACTION):
                for name, values in _rows_of(number, story):
                    connection.executemany(texts[name], values)
            connection.execute("COMMIT")
        return USERS / (time.perf_counter() - started)


def _rows_of(number: int, story: str) -> Iterator[tuple[str, Sequence[Values]]]:
    user, event = uuid4().hex, uuid4().hex
    email = f"{number}@example.com"
    yield "add user", [{"id": user, "name": "Иван", "email": email, "key": email}]
    yield "add event", [event_row(event, "user_registered", 2, user, story, story)]
    yield "add delivery", delivery_rows(event, OF_REGISTERED)


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    way = Way(name="sqlite3", once=raw, is_limit=True)
    yield Contest(what=f"{USERS:,} users", unit="users/s", ours=ours, ways=[way], rounds=3)
