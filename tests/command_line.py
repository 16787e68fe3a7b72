"""The command line, in this process."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from allocation.entrypoints.cli import cli


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Application:
    """The command line, on a database in a folder of its own, which is the current one."""

    folder: Path
    backend: str

    @property
    def database(self) -> Path:
        return self.folder / "allocation.db"

    def run(self, *arguments: str, line: str | None = None, **settings: str) -> Result:
        """Run one command, with a line to read; what it raises beside its exit code is a bug."""
        given = {"event_loop": self.backend, **settings}
        environment = {f"ALLOCATION_{name.upper()}": value for name, value in given.items()}
        runner = CliRunner(env=environment)
        result = runner.invoke(
            cli, arguments, input=line, prog_name="allocation", catch_exceptions=False
        )
        return Result(result.exit_code, result.stdout, result.stderr)

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

    def rows_changed(self, statement: str) -> int:
        """Change the database from outside; return how many rows were hit."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(statement).rowcount
