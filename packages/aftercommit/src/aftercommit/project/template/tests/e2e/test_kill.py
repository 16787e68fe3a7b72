"""The service as a process that dies, and another one that finishes its work."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

LIMIT_SECONDS = 60


def start(folder: Path, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
    """Start a command of the service."""
    prefix = "SHOP_"
    ours = {f"{prefix}{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "shop", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | ours, stdout=subprocess.PIPE, text=True
    )


def rows(folder: Path, statement: str) -> list[tuple[object, ...]]:
    """Ask the database from outside."""
    with closing(sqlite3.connect(folder / "shop.db")) as database:
        return database.execute(statement).fetchall()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another process, with a limit."""
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_a_dead_process_has_left_is_done_by_a_worker(tmp_path: Path) -> None:
    """It is killed while the e-mail is on its way; its lease ends, and the worker sends it."""
    mail = tmp_path / "shop-mail"
    os.mkfifo(mail)  # whoever writes into it hangs
    quick = {"lease_seconds": "3", "handler_timeout_seconds": "2"}
    counted = "SELECT count(*) FROM statistics WHERE count = 1"
    with start(tmp_path, "place-order", "ivan@example.com", "lamp", **quick) as process:
        wait_until((tmp_path / "shop.db").exists)
        wait_until(lambda: _is(tmp_path, counted))
        process.send_signal(signal.SIGKILL)
    mail.unlink()

    with start(tmp_path, "worker", "--until-idle", **quick) as worker:
        assert worker.wait(LIMIT_SECONDS) == 0

    assert len([*mail.glob("new/*")]) == 1
    assert _is(tmp_path, counted)


def _is(folder: Path, statement: str) -> bool:
    try:
        return rows(folder, statement) == [(1,)]
    except sqlite3.OperationalError:  # the tables are not there yet
        return False
