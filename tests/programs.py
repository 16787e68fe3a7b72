"""The application as its users run it: as processes, with a database that tests look into."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

LIMIT_SECONDS = 600
POLL_SECONDS = 0.02

Process = subprocess.Popen[str]


@dataclass
class Program:
    """The program in a folder of its own, with a SQLite file there, or on another database."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.folder / "allocation.db"

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of a process, without the settings of this one."""
        outside = {name: v for name, v in os.environ.items() if not name.startswith("ALLOCATION_")}
        given = {**self.settings, **settings}
        return outside | {f"ALLOCATION_{name.upper()}": value for name, value in given.items()}

    def start(self, *arguments: str, **settings: str) -> Process:
        """Start a command, and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "allocation", *arguments],
            cwd=self.folder,
            env=self.environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.running(*arguments, **settings) as process:
            output = process.communicate(timeout=LIMIT_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, *output)

    @contextmanager
    def running(self, *arguments: str, **settings: str) -> Iterator[Process]:
        """Run a command beside the test; if it still runs at the end of the context, kill it."""
        with self.start(*arguments, **settings) as process:
            try:
                yield process
            finally:
                process.kill()

    def rows(self, statement: str) -> list[Any]:
        """Query the SQLite file, or change it, from outside; of no table yet, there are no rows."""
        opened = sqlite3.connect(self.database, timeout=LIMIT_SECONDS)
        with closing(opened) as connection, connection:
            try:
                return connection.execute(statement).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def outstanding(self) -> list[tuple[str, int]]:
        """Return handler and attempts of what is not done; what is scheduled for later is not."""
        return self.rows(
            "SELECT handler, attempts FROM aftercommit_deliveries WHERE completed_at IS NULL"
            " AND handler NOT IN ('send_coupon_reminder', 'expire_coupon') ORDER BY handler"
        )

    def end_leases(self) -> None:
        """Let so much time pass, for the database, that every lease is over."""
        self.rows("UPDATE aftercommit_deliveries SET available_at = 0 WHERE attempts > 0")


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition of another process, with a limit."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)  # or the test would take the processor from those it waits for


def wait_for_line(stream: IO[str] | None, text: str) -> str:
    """Return the next line with this text in what a process writes."""
    assert stream is not None
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"the process has ended without {text!r}")


def stop(process: Process, by: int = signal.SIGTERM) -> int:
    """Send a signal to a process, and return its exit code."""
    process.send_signal(by)
    return process.wait(LIMIT_SECONDS)
