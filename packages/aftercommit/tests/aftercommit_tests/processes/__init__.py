"""Runs an application as its users do: as a process, on a database of its own."""

import os
import pty
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, ClassVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psycopg

from aftercommit_tests.warm import SOURCES, WarmProcess

TIMEOUT_SECONDS = 240
LIMIT_SECONDS = 180
POLL_SECONDS = (0.01, 0.1)  # at first, and after a while
IN_TRANSACTION = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid != pg_backend_pid()
AND backend_type = 'client backend' AND xact_start IS NOT NULL
"""
PATIENCE = {
    "handler_timeout_seconds": "600",
    "lease_seconds": "900",
    "shutdown_grace_seconds": "600",
}
"""Settings under which nothing ends by time, on however busy a machine."""
TERMINAL = {"TERM": "xterm", "LINES": "24"}  # if one is written to


@dataclass
class Installation:
    """An application in a folder of its own, with its database."""

    folder: Path
    postgres_url: str | None = None
    backend: str = "asyncio"
    settings: dict[str, str] = field(default_factory=dict)
    module: str = "aftercommit_tests.things"
    name: ClassVar[str] = "things"
    crashing: ClassVar[str] = "aftercommit_tests.crashing"
    process: ClassVar[type[WarmProcess]] = WarmProcess

    @property
    def database(self) -> Path:
        return self.folder / f"{self.name}.db"

    @property
    def rung(self) -> list[str]:
        """Return what the bell has rung, once for each idempotency key, sorted."""
        return sorted(line.rpartition(" ")[0] for line in set(self.rings))

    @property
    def rings(self) -> list[str]:
        """Return the lines of the bell: what it has rung, and the idempotency key."""
        bell = self.folder / self.settings.get("bell_file", "bell.txt")
        return bell.read_text().splitlines() if bell.exists() else []

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of a process: neither our settings nor the coverage are in it."""
        prefix = f"{self.name.upper()}_"
        ours = (prefix, "COVERAGE_")
        outside = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
        own = {"event_loop": self.backend, **self.settings, **settings}
        if self.postgres_url:
            own.setdefault("database_url", self.postgres_url)
        prefixed = {f"{prefix}{name.upper()}": value for name, value in own.items()}
        return outside | {"PYTHONPATH": SOURCES} | prefixed

    @property
    def lines(self) -> list[str]:
        """Return what handlers have written, sorted."""
        return sorted(text for (text,) in self.rows("SELECT text FROM lines"))

    def run(
        self, *arguments: str, module: Iterable[str] | None = None, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        environment = self.environment(**settings)
        return finished(self.start(*arguments, module=module, environment=environment))

    def succeed(self, *arguments: str, module: Iterable[str] | None = None, **settings: str) -> str:
        """Run one command that has to succeed; return what it has printed."""
        ended = self.run(*arguments, module=module, **settings)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def start(
        self,
        *arguments: str,
        module: Iterable[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start one command, and do not wait for it."""
        command = *(module or [self.module]), *arguments
        settings = environment or self.environment()
        return started(*command, folder=self.folder, environment=settings, process=self.process)

    @contextmanager
    def running(
        self, *arguments: str, module: Iterable[str] | None = None, **settings: str
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
        process = self.run(*arguments, module=(self.crashing, point), **settings)
        assert process.returncode == -signal.SIGKILL, (
            f"{point} was never reached:\n{process.stderr}"
        )
        return process.stdout

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line by a shell, with the programs of the database's server in its path."""
        programs = [str(Path(sys.executable).parent)]
        if self.postgres_url:
            bindir = "SELECT setting FROM pg_config WHERE name = 'BINDIR'"
            programs += [folder for (folder,) in self.rows(bindir)]
        path = os.pathsep.join([*programs, os.environ["PATH"]])
        environment = self.environment()
        if self.postgres_url:  # in a file, as where it is deployed
            variable = f"{self.name.upper()}_DATABASE_URL"
            file = self.folder / "database_url"
            file.write_text(environment.pop(variable))
            environment[f"{variable}_FILE"] = str(file)
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=environment | {"PATH": path, "DATABASE_URL": self.postgres_url or ""},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )

    def rows(self, statement: str) -> list[Any]:
        """Query the database from outside."""
        with self.connected() as connection:
            rows: list[Any] = connection.execute(statement).fetchall()
        return rows

    def count(self, rows: str) -> int:
        """Return how many rows a table has, or some condition of it."""
        [(number,)] = self.rows(f"SELECT count(*) FROM {rows}")
        return int(number)

    def change(self, statement: str, *values: Any) -> None:
        """Change the database from outside."""
        with self.connected() as connection:
            connection.execute(statement, *([values] if values else []))
            connection.commit()

    def end_leases(self) -> None:
        """Let so much time pass, for the database, that everything that is outstanding is due.

        What is scheduled for later is not.
        """
        self.change(f"UPDATE aftercommit_deliveries SET available_at = 0 WHERE {outstanding()}")

    def connected(self) -> AbstractContextManager[Any]:
        """Connect to the database from outside."""
        if self.postgres_url:
            return psycopg.connect(self.postgres_url)
        return closing(sqlite3.connect(self.database, timeout=LIMIT_SECONDS))

    def is_free(self) -> bool:
        """Tell whether no process is in a transaction that could keep another one from writing."""
        with self.connected() as connection:
            if self.postgres_url:
                return not connection.execute(IN_TRANSACTION).fetchall()
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:  # locked
                return False
            return True


def started(
    module: str,
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str],
    process: type[WarmProcess] = WarmProcess,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """Start `python -m MODULE ARGUMENTS…` in a folder, and do not wait for it."""
    return process(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> subprocess.CompletedProcess[str]:
    """Wait for the end of a process, and return what it has printed."""
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
    pause, longest = POLL_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)  # or the test would take the processor from those it waits for
        pause = min(1.2 * pause, longest)


def wait_for_line(stream: IO[str] | None, text: str) -> str:
    """Return the next line with this text in what a process writes."""
    assert stream is not None
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"it has ended without {text!r}")


def stop(process: "subprocess.Popen[str]", by: int = signal.SIGTERM) -> int:
    """Send a signal to a process, and return how it ends."""
    process.send_signal(by)
    return process.wait(LIMIT_SECONDS)


def freeze(process: "subprocess.Popen[Any]", application: Installation) -> None:
    """Stop a process with SIGSTOP at a moment when nobody waits for what it holds.

    Stopped at any moment, it may have SQLite's only write lock: then nobody can write until it goes
    on. So this looks, when no thread of it is running, and lets it go on and tries again if so.
    """

    def is_stopped_with_nothing() -> bool:
        send_stop(process)
        if application.is_free():
            return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_until(is_stopped_with_nothing)


def send_stop(process: "subprocess.Popen[Any]") -> None:
    """Stop a process with SIGSTOP, and return when no thread of it is running."""
    tasks = f"{process.pid}/task"

    def is_stopped() -> bool:
        return all(stat_of(f"{tasks}/{each}")[0] == "T" for each in os.listdir(f"/proc/{tasks}"))

    process.send_signal(signal.SIGSTOP)
    wait_until(is_stopped)


def asked(port: int, path: str) -> tuple[int, str]:
    """Ask on a port of this machine: return the status and the body, 0 if nobody answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT_SECONDS) as response:
            return response.status, response.read().decode()
    except HTTPError as refused:
        with refused, suppress(HTTPException, ConnectionError):  # it dies while it answers
            return refused.code, refused.read().decode()
        return 0, ""
    except (URLError, HTTPException, ConnectionError):
        return 0, ""


def a_free_port() -> int:
    """Return a port that nobody has."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def outstanding() -> str:
    """Return the SQL condition of what is outstanding; what is scheduled for later is not yet."""
    soon = time.time() + 1  # what is stored while this is asked is due now
    later = f"attempts = 0 AND unavailable_attempts = 0 AND available_at > {soon}"
    return f"completed_at IS NULL AND NOT ({later})"


def owed(application: Installation) -> list[tuple[str, int]]:
    """Return the handler and the attempts of each delivery, by handler."""
    return application.rows(
        "SELECT handler, attempts FROM aftercommit_deliveries"
        f" WHERE {outstanding()} ORDER BY handler"
    )


def stat_of(pid: int | str) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, the state first; see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


@contextmanager
def writing_to(
    application: Installation,
    *arguments: str,
    stdout: int,
    stderr: int,
    module: Iterable[str] = (),
    columns: str = "200",
    **settings: str,
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run one command beside the test, with its output going there."""
    process: Any = application.process(
        [sys.executable, "-m", *(module or [application.module]), *arguments],
        cwd=application.folder,
        env=application.environment(**settings) | TERMINAL | {"COLUMNS": columns},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def on_terminal(
    application: Installation, *arguments: str, errors: bool = False, columns: str = "200"
) -> "Iterator[tuple[subprocess.Popen[bytes], Iterator[bytes]]]":
    """Run one command beside the test, whose output, or errors, a terminal shows.

    What is shown is yielded, too; it ends when the command does.
    """
    parent, child = pty.openpty()
    out, err = (subprocess.PIPE, child) if errors else (child, subprocess.PIPE)
    try:
        with writing_to(
            application, *arguments, stdout=out, stderr=err, columns=columns
        ) as process:
            os.close(child)
            yield process, _pieces(parent)
    finally:
        os.close(parent)


def _pieces(terminal: int) -> Iterator[bytes]:
    with suppress(OSError):  # nobody has the terminal open any longer
        while True:
            yield os.read(terminal, 65536)
