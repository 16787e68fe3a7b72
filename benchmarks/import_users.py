# room: operations
"""Measures `allocation import-users` on SQLite, in users a second; handlers are left to workers.

The limit is sqlite3 that inserts the rows this leaves: user, command, event and deliveries, 100
users to a transaction.
"""

import csv
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

from allocation.entrypoints.cli import cli
from benchmarks.application import settings_for
from benchmarks.files import new_file
from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.registration_by_hand import PRAGMAS
from benchmarks.registration_sql import OF_REGISTERED, Values, statements
from benchmarks.results import Topic

TO_A_TRANSACTION = 100
ENVIRONMENT = {"ALLOCATION_DISPATCH": "worker", "ALLOCATION_MAIL_URL": "nowhere:"}


class Importing:
    """Rounds with so many users."""

    def __init__(self, users: int) -> None:
        self._users = users

    def ours(self) -> float:
        """Run the command, as it is run by a user, but in this process."""
        with new_file() as file:
            rows = file.with_suffix(".csv")
            self._write(rows)
            settings_for("")  # so that there is a way to send no mail
            command = [f"--database-url=sqlite:///{file}", "import-users", str(rows)]
            with patch.dict("os.environ", ENVIRONMENT), redirect_stdout(StringIO()):
                started = time.perf_counter()
                cli.main(command, standalone_mode=False)
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
                for number in range(first, first + TO_A_TRANSACTION):
                    for name, values in _rows_of(number):
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


def _rows_of(number: int) -> Iterator[tuple[str, Sequence[Values]]]:
    user, story, event = uuid4().hex, uuid4().hex, uuid4().hex
    email = f"{number}@example.com"
    data = f'{{"user_id":"{user}","name":"Иван","email":"{email}"}}'
    yield "note", [{"id": story, "story": story}]
    yield "add user", [{"id": user, "name": "Иван", "email": email, "key": email}]
    of_event = {"type": "user_registered", "version": 2, "subject": user, "data": data}
    caused = {"story": story, "cause": story, "handler": None}
    yield "add event", [{"id": event, **of_event, **caused}]
    yield "add delivery", [{"event": event, "handler": handler} for handler in OF_REGISTERED]


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    users = effort.pick(1_000, 20_000)
    rounds = Importing(users)
    way = Way(name="sqlite3", once=rounds.raw, goal=Goal(0.1), is_limit=True)
    what = f"{users:,} users"
    yield Contest(what=what, unit="users/s", ours=rounds.ours, ways=[way], rounds=3)


TOPIC = Topic(
    name="import_users",
    title="Importing users",
    meaning=(
        "`import-users` reads a file, checks each row, and stores user, command, event and"
        " deliveries; the handlers are left to workers. The limit is sqlite3 that inserts the same"
        " rows, a hundred users to a transaction, and checks nothing."
    ),
    contests=contests,
)
