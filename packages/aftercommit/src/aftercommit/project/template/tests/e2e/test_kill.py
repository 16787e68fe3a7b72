"""The service as a process that dies, and another one that finishes its work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg

LIMIT_SECONDS = 60
QUICK = {
    "SHOP_LEASE_SECONDS": "3",
    "SHOP_HANDLER_TIMEOUT_SECONDS": "2.5",
}
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def start(folder: Path, url: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command of the service."""
    environment = os.environ | QUICK | {"SHOP_DATABASE_URL": url}
    command = [sys.executable, "-m", "shop", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True)


def test_what_a_dead_process_has_left_is_done_by_a_worker(
    tmp_path: Path, postgres_url: str
) -> None:
    """It is killed inside a handler; when its lease has ended, a worker does it, once."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SELECT * FROM statistics FOR UPDATE")  # so the handler has to wait
        with start(tmp_path, postgres_url, "place-order", "ivan@example.com", "lamp") as process:
            wait_until_it_waits(process, postgres_url)
            process.send_signal(signal.SIGKILL)
        connection.rollback()
        assert placed(connection) == 0

        with start(tmp_path, postgres_url, "worker", "--until-idle") as worker:
            assert worker.wait(LIMIT_SECONDS) == 0
        connection.rollback()

        assert placed(connection) == 1
    assert [*tmp_path.glob("shop-mail/new/*")] != []


def wait_until_it_waits(process: "subprocess.Popen[str]", url: str) -> None:
    """Wait for a process until it waits for somebody else, with a limit."""
    end = time.monotonic() + LIMIT_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(WAITING).fetchone() == (0,):
            assert process.poll() is None, "it has ended: see what it says above"
            assert time.monotonic() < end
            time.sleep(0.02)


def placed(connection: "psycopg.Connection[tuple[int]]") -> int:
    """Return how many orders were counted."""
    rows = connection.execute("SELECT count FROM statistics WHERE name = 'placed'").fetchall()
    return rows[0][0]
