"""Measures what each guarantee costs alone: statements, rows, commits, milliseconds.

It does not use the application, but a SQLite file and statements written by hand; each list is a
transaction. The application does all of them together, and its own work.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

Transactions = Sequence[Sequence[str]]

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, version INTEGER);
CREATE TABLE commands (id INTEGER PRIMARY KEY);
CREATE TABLE events (id INTEGER PRIMARY KEY, data TEXT);
CREATE TABLE deliveries (event_id INTEGER PRIMARY KEY, token INTEGER, due_at REAL, error TEXT);
CREATE TABLE failures (event_id INTEGER PRIMARY KEY, error TEXT);
CREATE TABLE log (id INTEGER PRIMARY KEY, email TEXT);
CREATE TABLE view (id INTEGER PRIMARY KEY, email TEXT);
INSERT INTO users VALUES (1, 'old@example.com', 1);
"""
CHANGE = "UPDATE users SET email = :n || '@example.com' WHERE id = 1"
NOTE = "INSERT INTO commands VALUES (:n)"
READ = "SELECT version FROM users WHERE id = 1"
GUARDED = f"{CHANGE} AND version = 1"
EVENT = 'INSERT INTO events VALUES (:n, \'{"email": "new@example.com"}\')'
OWE = "INSERT INTO deliveries VALUES (:n, 1, 30.0, NULL)"
DONE = "UPDATE deliveries SET due_at = NULL WHERE event_id = :n AND token = 1"
CLAIM = "UPDATE deliveries SET token = token + 1, due_at = due_at + 30 WHERE event_id = :n"
DONE_AGAIN = "UPDATE deliveries SET due_at = NULL WHERE event_id = :n AND token = 2"
LATER = (
    "UPDATE deliveries SET due_at = due_at + 1, error = 'down' WHERE event_id = :n AND token = 1"
)
FAILURE = "INSERT INTO failures VALUES (:n, 'down')"
EFFECT = "INSERT INTO log VALUES (:n, 'new@example.com')"
FORGET = "DELETE FROM view WHERE id = 1"
COPY = "INSERT INTO view SELECT id, email FROM users"

OWED = [CHANGE, EVENT, OWE]
NOTHING = "none: the row is changed"
WAYS: Mapping[str, tuple[str | None, Transactions]] = {  # compared with what, and what is done
    NOTHING: (None, [[CHANGE]]),
    "idempotent command (inbox row)": (NOTHING, [[NOTE, CHANGE]]),
    "optimistic locking (version column)": (NOTHING, [[READ, GUARDED]]),
    "event log": (NOTHING, [[CHANGE, EVENT]]),
    "transactional outbox: one handler, until it is done": (NOTHING, [OWED, [DONE]]),
    "… with a lease, so that a worker takes over": (
        "transactional outbox: one handler, until it is done",
        [OWED, [CLAIM], [DONE_AGAIN]],
    ),
    "… with stored failures and retries": (
        "transactional outbox: one handler, until it is done",
        [OWED, [LATER, FAILURE], [CLAIM], [DONE_AGAIN]],
    ),
    "a handler that writes a row, at least once": (NOTHING, [OWED, [EFFECT], [DONE]]),
    "… exactly once: completed in its own transaction": (
        "a handler that writes a row, at least once",
        [OWED, [EFFECT, DONE]],
    ),
    "projection of a read model": (
        "transactional outbox: one handler, until it is done",
        [OWED, [FORGET, COPY, DONE]],
    ),
}


def table(folder: Path, times: int) -> Iterator[str]:
    """Yield the table: the first row as it is, then what the others add, as medians."""
    rounds = _seconds(folder, times)
    yield "| the guarantee | statements | rows | commits | ms |"
    yield "|---|---|---|---|---|"
    for name, (other, transactions) in WAYS.items():
        sign = "+" if other else ""
        both = counted(transactions), counted(WAYS[other][1] if other else ())
        added = " | ".join(f"{ours - theirs:{sign}}" for ours, theirs in zip(*both, strict=True))
        seconds = median(each[name] - (each[other] if other else 0) for each in rounds)
        yield f"| {name} | {added} | {seconds * 1000:{sign}.2f} |"


def counted(transactions: Transactions) -> tuple[int, int, int]:
    """Return the statements but for BEGIN and COMMIT, the rows that they leave, and the commits."""
    verbs = [statement.partition(" ")[0] for done in transactions for statement in done]
    return len(verbs), verbs.count("INSERT") - verbs.count("DELETE"), len(transactions)


def _seconds(folder: Path, times: int) -> list[dict[str, float]]:
    """Run each so often, in a separate file, in turn, so that noise hits all of them."""
    with ExitStack() as opened:
        files = {name: opened.enter_context(_file(folder)) for name in WAYS}
        rounds = [
            {name: _timed(files[name], transactions, n) for name, (_, transactions) in WAYS.items()}
            for n in range(times + 2)
        ]
    return rounds[2:]  # the first two runs create pages


@contextmanager
def _file(folder: Path) -> Iterator[sqlite3.Connection]:
    with (
        TemporaryDirectory(dir=folder) as place,
        closing(sqlite3.connect(f"{place}/alone.db", isolation_level=None)) as connection,
    ):
        connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}")
        yield connection


def _timed(connection: sqlite3.Connection, transactions: Transactions, n: int) -> float:
    started = time.perf_counter()
    for transaction in transactions:
        connection.execute("BEGIN IMMEDIATE")
        for statement in transaction:
            done = connection.execute(statement, {"n": n})
            # so a row for each INSERT; there is nothing to forget the first time
            assert statement == READ or done.rowcount == 1 or (statement, n) == (FORGET, 0)
        connection.execute("COMMIT")
    return time.perf_counter() - started
