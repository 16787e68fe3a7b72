"""Step 3: the outbox.

Before, the unfinished work is known to one process only, and dies with it. Now, it is a row, saved
in the transaction of the user; another process finds it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from inspect import getsourcelines
from mailbox import Maildir
from tempfile import TemporaryDirectory
from time import perf_counter

import aiosqlite
import anyio
from aiosqlite import Connection

TABLES = """
CREATE TABLE IF NOT EXISTS users (email);
CREATE TABLE IF NOT EXISTS outbox (email, published DEFAULT FALSE);
"""
FOUND = "SELECT count(*), (SELECT count(*) FROM outbox WHERE NOT published) FROM users"
UNPUBLISHED = "SELECT rowid, email FROM outbox WHERE NOT published ORDER BY rowid"
Crash = Callable[[], None]
Way = Callable[[Connection, Maildir, Crash], Awaitable[None]]


async def save_then_publish(database: Connection, mail: Maildir, crash: Crash) -> None:
    await database.execute("INSERT INTO users VALUES ('ivan@example.com')")
    await database.commit()
    crash()
    await send_welcome_email(mail, "ivan@example.com")


async def publish_then_save(database: Connection, mail: Maildir, crash: Crash) -> None:
    await send_welcome_email(mail, "ivan@example.com")
    crash()
    await database.execute("INSERT INTO users VALUES ('ivan@example.com')")
    await database.commit()


async def save_with_outbox(database: Connection, mail: Maildir, crash: Crash) -> None:
    await database.execute("INSERT INTO users VALUES ('ivan@example.com')")
    await database.execute("INSERT INTO outbox (email) VALUES ('ivan@example.com')")
    await database.commit()
    crash()


async def relay(database: Connection, mail: Maildir, crash: Crash) -> None:
    """Publish what is not published yet, and write so after that, not before."""
    for row, email in await database.execute_fetchall(UNPUBLISHED):
        await send_welcome_email(mail, email)
        crash()
        await database.execute("UPDATE outbox SET published = TRUE WHERE rowid = ?", [row])
        await database.commit()


async def send_welcome_email(mail: Maildir, recipient: str) -> None:
    await anyio.to_thread.run_sync(mail.add, f"To: {recipient}\nSubject: Welcome\n")


async def work(folder: str, ways: Sequence[Way], crash: Crash) -> str:
    """Do it in this process; print what there is then, and return what it took."""
    statements: list[str] = []
    mail = Maildir(f"{folder}/mail")
    async with aiosqlite.connect(f"{folder}/shop.db") as database:
        await database.executescript(TABLES)
        await database.set_trace_callback(statements.append)
        started = perf_counter()
        for way in ways:
            await way(database, mail, crash)
        price = f"{len(statements)} statements, {(perf_counter() - started) * 1000:.1f} ms"
        async for users, pending in await database.execute(FOUND):
            print(f"  users {users}, e-mails {len(mail)}, pending {pending}")
    return price


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nothing() -> None:
    """Do not die."""


def show(what: str, way: Way, *then: Way) -> None:
    """Begin in a process that dies in the middle, and go on in this one."""
    with TemporaryDirectory() as folder:
        dead = subprocess.run([sys.executable, __file__, folder, way.__name__])
        print(what, f"  killed by {signal.Signals(-dead.returncode).name}", sep="\n")
        anyio.run(work, folder, [], nothing)
        for each in then:
            print(f"  {each.__name__}, by another process")
            anyio.run(work, folder, [each], nothing)


def main() -> None:
    show("Before: save, then publish", save_then_publish)
    show("Or the other way round: publish, then save", publish_then_save)
    show("Now: save both, and let a relay publish", save_with_outbox, relay)
    print("And when nobody dies")
    with TemporaryDirectory() as folder:
        price = anyio.run(work, folder, (save_with_outbox, relay), nothing)
    print("Still doubled: the e-mail, when two relays have read the same row.")
    lines = len(getsourcelines(save_with_outbox)[0] + getsourcelines(relay)[0])
    print(f"Price: {lines} lines, {price} a registration.")
    print("Stop here if one process publishes, and nobody minds an e-mail that comes twice.")


if sys.argv[1:]:
    anyio.run(work, sys.argv[1], [globals()[sys.argv[2]]], die)
else:
    main()
