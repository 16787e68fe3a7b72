"""Step 5: completed in the handler's own transaction: exactly once in effect.

Before, a worker that dies after its work, but before it has written that it is done, has it done
again. Now, for work in the same database, both are one transaction: neither is there, or both are.
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

TABLES = """CREATE TABLE users (email); CREATE TABLE coupons (email);
CREATE TABLE deliveries (email, pending DEFAULT TRUE, token DEFAULT 0, available_at DEFAULT 0);"""
REGISTER = """BEGIN; INSERT INTO users VALUES ('ivan@example.com');
INSERT INTO deliveries (email) VALUES ('ivan@example.com'); COMMIT;"""
NOW = "julianday('now') * 86400"  # the database's clock, in seconds
PENDING = "SELECT rowid FROM deliveries WHERE pending"
CLAIM = f"""UPDATE deliveries SET token = token + 1, available_at = {NOW} + 0.2
WHERE pending AND available_at <= {NOW} RETURNING rowid, email, token"""
COMPLETE = "UPDATE deliveries SET pending = FALSE WHERE rowid = ? AND token = ? AND pending"
signals = sys.argv[3:]
Way = Callable[[Connection, int, str, int], Awaitable[None]]


async def do_then_complete(database: Connection, row: int, email: str, token: int) -> None:
    await allocate_coupon(database, email)
    await database.commit()
    perhaps("SIGKILL")
    await database.execute(COMPLETE, [row, token])
    await database.commit()


async def do_and_complete(database: Connection, row: int, email: str, token: int) -> None:
    await allocate_coupon(database, email)
    perhaps("SIGKILL")
    if (await database.execute(COMPLETE, [row, token])).rowcount == 1:
        await database.commit()
    else:
        await database.rollback()
        print(f"  worker 1 is too late: claim {token} is not the last one")


async def allocate_coupon(database: Connection, email: str) -> None:
    """Give a user a coupon. The handler knows nothing of deliveries, and commits nothing."""
    await database.execute("INSERT INTO coupons VALUES (?)", [email])


async def work(folder: str, way: Way, before: str = "") -> str:
    """Work until nothing is pending."""
    statements: list[str] = []
    async with aiosqlite.connect(f"{folder}/shop.db") as database:
        await database.set_trace_callback(statements.append)
        started = perf_counter()
        await database.executescript(before)
        while await database.execute_fetchall(PENDING):
            claimed = await database.execute_fetchall(CLAIM)
            await database.commit()
            for row, email, token in claimed:
                perhaps("SIGSTOP")
                await way(database, row, email, token)
            await anyio.sleep(0 if claimed else 0.01)  # until a lease is over
    return f"{len(statements)} statements, {(perf_counter() - started) * 1000:.1f} ms"


def perhaps(name: str) -> None:
    """Stop or kill this process here, if that is what it was started for."""
    if name in signals:
        signals.clear()
        os.kill(os.getpid(), signal.Signals[name])


def show(way: Way, name: str) -> str:
    """Let worker 1 be killed or stopped in the middle, worker 2 do all, and worker 1 go on."""
    with TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/shop.db")) as database:
        database.executescript(TABLES + REGISTER)
        worker = [sys.executable, __file__, folder, way.__name__]
        with subprocess.Popen([*worker, name], stdout=subprocess.PIPE, text=True) as first:
            _, status = os.waitpid(first.pid, os.WUNTRACED)
            met = os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.WTERMSIG(status)
            subprocess.run(worker)
            first.send_signal(signal.SIGCONT)
            print(first.communicate()[0], end="")
        (coupons,) = database.execute("SELECT count(*) FROM coupons").fetchone()
        print(
            f"  worker 1 has met {signal.Signals(met).name}, worker 2 has come: coupons {coupons}"
        )
        return anyio.run(work, folder, way, REGISTER)


def main() -> None:
    print("Before: do, commit, complete, commit")
    show(do_then_complete, "SIGKILL")
    show(do_then_complete, "SIGSTOP")
    print("Now: do, complete, commit")
    show(do_and_complete, "SIGKILL")
    price = show(do_and_complete, "SIGSTOP")
    print(f"Price: {len(getsourcelines(do_and_complete)[0])} lines, {price} a registration.")
    print("Still doubled: a command that is sent twice. And e-mails: they have no transaction.")
    print("Stop here if nobody sends you a command again because your answer got lost.")


if sys.argv[1:]:
    anyio.run(work, sys.argv[1], globals()[sys.argv[2]])
else:
    main()
