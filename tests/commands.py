"""The command line, in this process, on a SQLite file in a folder of its own."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from allocation.entrypoints.app import cli


@dataclass(frozen=True)
class Shell:
    """Runs commands in a folder, which has to be the current one."""

    folder: Path
    event_loop: str

    @property
    def database(self) -> Path:
        return self.folder / "allocation.db"

    def run(self, *arguments: str, line: str | None = None, **settings: str) -> Result:
        """Run a command, with a line to read; what it raises beside its exit code is a bug."""
        given = {"event_loop": self.event_loop, **settings}
        environment = {f"ALLOCATION_{name.upper()}": value for name, value in given.items()}
        runner = CliRunner(env=environment)
        return runner.invoke(
            cli, arguments, input=line, prog_name="allocation", catch_exceptions=False
        )

    def rows(self, statement: str) -> list[Any]:
        """Query the database, or change it, from outside."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(statement).fetchall()
