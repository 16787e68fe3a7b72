"""The command line of the things, in this process: much faster than as a process."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from aftercommit_tests.things.app import cli


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class CommandLine:
    """The command line, on a database in a folder of its own, which is the current one."""

    folder: Path
    backend: str

    @property
    def database(self) -> Path:
        return self.folder / "things.db"

    def run(self, *arguments: str, **settings: str) -> Result:
        """Run one command; what it raises beside its exit code is a bug."""
        given = {"event_loop": self.backend, **settings}
        environment = {f"THINGS_{name.upper()}": value for name, value in given.items()}
        runner = CliRunner(env=environment)
        with own_logging():
            result = runner.invoke(cli, arguments, prog_name="things", catch_exceptions=False)
        return Result(result.exit_code, result.stdout, result.stderr)

    def shows(self, *arguments: str, **settings: str) -> str:
        """Return what a command prints that succeeds."""
        result = self.run(*arguments, **settings)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refuses(self, *arguments: str, complaint: str) -> None:
        """Check that this is malformed input: told what is wrong, and nothing is created."""
        result = self.run(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert complaint in result.stderr
        assert "Traceback" not in result.stderr
        assert not self.database.exists()

    def rows(self, statement: str) -> list[Any]:
        """Query the database from outside."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(statement).fetchall()

    def change(self, statement: str, *values: Any) -> None:
        """Change the database from outside."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(statement, values)


@contextmanager
def own_logging() -> Iterator[None]:
    """Undo what a command does to the logging of this process."""
    try:
        yield
    finally:
        logging.basicConfig(handlers=[], force=True)
        for package in ("aftercommit", "things"):
            logging.getLogger(package).setLevel(logging.NOTSET)
