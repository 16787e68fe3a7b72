"""Tries one way to change an address: what it asks of SQLite, how long it takes, what a kill loses.

    python docs/price/plain.py FOLDER [TIMES]
    python docs/price/plain.py FOLDER again

Each file beside this one is the same use case: a user has another e-mail address, and the old one
gets a notice. With a file named `kill` in the folder, the process dies before its first notice;
`again` opens everything once more, and tells whether that notice is sent after all.
"""

import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import anyio

Change = Callable[[str], Awaitable[None]]
Opening = Callable[[Path], AbstractAsyncContextManager[Change]]

USER = "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"
OLD = "old@example.com"
NO_STATEMENTS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "--")
PATIENCE_SECONDS = 10

FOLDER = Path(sys.argv[1])
AGAIN = sys.argv[2:] == ["again"]


def send_notice(to: str) -> None:
    """Write the e-mail into a file that is named after the address, so once is once."""
    with suppress(FileNotFoundError):
        (FOLDER / "kill").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    (FOLDER / f"{to}.txt").write_text("Your e-mail address was changed.\n")


def tried(opening: Opening) -> None:
    """Do what was asked for, and print what came of it, as JSON in the last line."""
    asked: list[str] = []
    _listen(asked)
    times = 0 if AGAIN else int((*sys.argv[2:], "1")[0])
    print(json.dumps(anyio.run(_tried, opening, times, asked)))


async def _tried(opening: Opening, times: int, asked: list[str]) -> dict[str, Any]:
    rounds = []
    async with opening(FOLDER) as change:
        for n in range(times):
            asked.clear()
            started = time.perf_counter()
            await change(f"{n}@example.com")
            seconds = time.perf_counter() - started
            said = [statement.lstrip().upper() for statement in asked]
            counted = sum(not statement.startswith(NO_STATEMENTS) for statement in said)
            rounds.append((counted, said.count("COMMIT"), seconds * 1000))
        if AGAIN:
            return {"sent": await _sent()}
    # the least of each: what is more was asked by others, in threads of their own, or disturbed
    least = map(min, zip(*rounds, strict=True))
    return dict(zip(("statements", "commits", "milliseconds"), least, strict=True))


async def _sent() -> bool:
    with anyio.move_on_after(PATIENCE_SECONDS):
        while not (FOLDER / f"{OLD}.txt").exists():  # noqa: ASYNC110  # others write it
            await anyio.sleep(0.05)
    return (FOLDER / f"{OLD}.txt").exists()


def _listen(asked: list[str]) -> None:
    """Hear what every connection of this process asks, whoever opens it."""
    connect = sqlite3.connect

    def listened(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.set_trace_callback(asked.append)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = listened
