"""The service as a process that dies, and another one that finishes its work."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from aftercommit import testing

SETTINGS = "SHOP_"  # a developer's variables must not change a test
QUICK = {
    "SHOP_LEASE_SECONDS": "10",
    "SHOP_HANDLER_TIMEOUT_SECONDS": "7",
    "SHOP_MAIL_URL": "maildir:mail",
}
LIMIT_SECONDS = 180


def start(folder: Path, url: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command of the service."""
    others = {name: os.environ[name] for name in os.environ if not name.startswith(SETTINGS)}
    environment = others | QUICK | {"SHOP_DATABASE_URL": url}
    command = [sys.executable, "-m", "shop", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True)


def test_what_a_dead_process_has_left_is_done_by_a_worker(
    tmp_path: Path, postgres_url: str
) -> None:
    """It is killed inside a handler; when the lease has ended, a worker does the work, once."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SELECT * FROM statistics FOR UPDATE")  # so that the handler has to wait
        with start(tmp_path, postgres_url, "place-order", "ivan@example.com", "lamp") as process:
            testing.kill_when_it_waits(process, postgres_url)
        connection.rollback()
        counted = "SELECT count FROM statistics WHERE name = 'placed'"
        assert connection.execute(counted).fetchall() == [(0,)]
        connection.rollback()

        with start(tmp_path, postgres_url, "worker", "--until-idle") as worker:
            assert worker.wait(LIMIT_SECONDS) == 0

        assert connection.execute(counted).fetchall() == [(1,)]
    assert [*tmp_path.glob("mail/new/*")] != []
