"""Runs the application as its users do: as a process, on a database file, with a mail server."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.e2e.mail import Mail
from tests.e2e.warm import WarmProcess

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 120
LIMIT_SECONDS = 60
POLL_SECONDS = 0.01


@dataclass
class Application:
    """The application in a folder of its own."""

    folder: Path
    mail: Mail | None = None
    postgres_url: str | None = None
    backend: str = "asyncio"
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.folder / "allocation.db"

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of a process: neither our settings nor the coverage are in it."""
        ours = ("ALLOCATION_", "COVERAGE_")
        outside = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
        own = {"backend": self.backend, **self.settings, **settings}
        if self.mail:
            own.setdefault("mail_url", self.mail.url)
        if self.postgres_url:
            own.setdefault("database_url", self.postgres_url)
            own.setdefault("mail_url", f"maildir:{self.folder / 'mail'}")
        prefixed = {f"ALLOCATION_{name.upper()}": value for name, value in own.items()}
        path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        return outside | {"PYTHONPATH": path} | prefixed

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return self._finish(self.start(*arguments, environment=self.environment(**settings)))

    def run_script(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end by the script that was installed."""
        return subprocess.run(
            [Path(sys.executable).with_name("allocation"), *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )

    def start(
        self,
        *arguments: str,
        module: Iterable[str] = ("allocation",),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start one command, and do not wait for it."""
        return WarmProcess(
            [sys.executable, "-m", *module, *arguments],
            cwd=self.folder,
            env=environment or self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def running(
        self, *arguments: str, module: Iterable[str] = ("allocation",), **settings: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Run one command beside the test, and end it with the context."""
        environment = self.environment(**settings)
        process = self.start(*arguments, module=module, environment=environment)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def crash(self, point: str, *arguments: str, **settings: str) -> str:
        """Run one command that is killed at a crash point; return what it had printed."""
        environment = self.environment(**settings)
        module = ("tests.e2e.crashing", point)
        process = self._finish(self.start(*arguments, module=module, environment=environment))
        assert process.returncode == -signal.SIGKILL, (
            f"{point} was never reached:\n{process.stderr}"
        )
        return process.stdout

    def rows(self, statement: str) -> list[Any]:
        """Query the database from outside."""
        with self.connected() as connection:
            rows: list[Any] = connection.execute(statement).fetchall()
        return rows

    def change(self, statement: str) -> None:
        """Change the database from outside."""
        with self.connected() as connection:
            connection.execute(statement)
            connection.commit()

    def end_leases(self) -> None:
        """Let so much time pass, for the database, that everything that is owed is due."""
        with self.connected() as connection:
            connection.execute("UPDATE deliveries SET due_at = 0")
            connection.commit()

    def connected(self) -> AbstractContextManager[Any]:
        """Connect to the database from outside."""
        if self.postgres_url:
            return psycopg.connect(self.postgres_url)
        return closing(sqlite3.connect(self.database))

    def _finish(self, process: "subprocess.Popen[str]") -> subprocess.CompletedProcess[str]:
        with process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_SECONDS)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(condition: Callable[[], object], *, limit: float = LIMIT_SECONDS) -> None:
    """Wait for a condition of another process, with a limit."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)  # or the test would take the processor from those it waits for


def owed(application: Application) -> list[tuple[str, int]]:
    """Return the handler and the attempts of each delivery, by handler."""
    return application.rows(
        "SELECT handler, attempts FROM deliveries WHERE finished_at IS NULL ORDER BY handler"
    )


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, the state first; see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
