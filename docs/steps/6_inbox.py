"""Step 6: the inbox.

Before, a command whose answer got lost is sent again, and done again. Now, the id of its message is
a row in the transaction of what it does; the second time, the row is there already.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from inspect import getsourcelines
from tempfile import TemporaryDirectory
from time import perf_counter

import aiosqlite
import anyio
from aiosqlite import Connection

TABLES = """CREATE TABLE users (email); CREATE TABLE deliveries (email);
CREATE TABLE inbox (message_id PRIMARY KEY, email);"""
COUNTS = "SELECT count(*), (SELECT count(*) FROM deliveries) FROM users"
Way = Callable[[Connection, str, str], Awaitable[str]]
signals = sys.argv[5:]


async def do(database: Connection, message_id: str, email: str) -> str:
    await register_user(database, email)
    await database.commit()
    return "done"


async def recognize_and_do(database: Connection, message_id: str, email: str) -> str:
    try:
        await database.execute("INSERT INTO inbox VALUES (?, ?)", [message_id, email])
    except sqlite3.IntegrityError:
        known = "SELECT email = ? FROM inbox WHERE message_id = ?"
        ((same,),) = await database.execute_fetchall(known, [email, message_id])
        return "done before" if same else "refused: this id was that of another command"
    await register_user(database, email)
    await database.commit()
    return "done"


async def register_user(database: Connection, email: str) -> None:
    """Store a user, and what is pending. It knows nothing of messages, and commits nothing."""
    await database.execute("INSERT INTO users VALUES (?)", [email])
    await database.execute("INSERT INTO deliveries VALUES (?)", [email])


async def answer(folder: str, way: Way, message_id: str, email: str) -> str:
    statements: list[str] = []
    async with aiosqlite.connect(f"{folder}/shop.db") as database:
        await database.set_trace_callback(statements.append)
        started = perf_counter()
        result = await way(database, message_id, email)
        price = f"{len(statements)} statements, {(perf_counter() - started) * 1000:.1f} ms"
    for name in signals:
        os.kill(os.getpid(), signal.Signals[name])  # the answer gets lost
    print(result)
    return price


def ask(folder: str, way: Way, email: str, *signals: str) -> str:
    """Send a command to a process of its own, and return its answer, or what it died of."""
    command = [sys.executable, __file__, folder, way.__name__, "message 1", email, *signals]
    asked = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return asked.stdout.strip() or f"no answer: {signal.Signals(-asked.returncode).name}"


def show(way: Way) -> str:
    with TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/shop.db")) as database:
        database.executescript(TABLES)
        print("  Ivan's command:", ask(folder, way, "ivan@example.com", "SIGKILL"))
        print("  the same command again:", ask(folder, way, "ivan@example.com"))
        print("  Maria's command, with the same id:", ask(folder, way, "maria@example.com"))
        print("  Maria's command, with its own id:", end=" ")
        price = anyio.run(answer, folder, way, "message 2", "maria@example.com")
        print("  users {}, e-mails pending {}".format(*database.execute(COUNTS).fetchone()))
    return price


def main() -> None:
    print("Before: do what arrives")
    show(do)
    print("Now: recognize what has arrived before")
    price = show(recognize_and_do)
    print(f"Price: {len(getsourcelines(recognize_and_do)[0])} lines, {price} a registration.")
    print("Still open: work in several steps, one of which is never answered.")
    print("Stop here if nothing of yours waits for another system.")


if sys.argv[1:]:
    anyio.run(answer, sys.argv[1], globals()[sys.argv[2]], sys.argv[3], sys.argv[4])
else:
    main()
