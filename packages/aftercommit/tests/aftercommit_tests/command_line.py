"""The command line of the things, in this process: much faster than as a process."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import CompletedProcess

from click.testing import CliRunner

from aftercommit_tests.processes import Installation
from aftercommit_tests.things.app import cli


@dataclass
class CommandLine(Installation):
    """The command line, on a database in a folder of its own, which is the current one."""

    def run(
        self, *arguments: str, module: Iterable[str] | None = None, **settings: str
    ) -> CompletedProcess[str]:
        """Run one command; what it raises beside its exit code is a bug."""
        given = {"event_loop": self.backend, **settings}
        environment = {f"THINGS_{name.upper()}": value for name, value in given.items()}
        runner = CliRunner(env=environment)
        with own_logging():
            result = runner.invoke(cli, arguments, prog_name="things", catch_exceptions=False)
        return CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)

    def shows(self, *arguments: str, **settings: str) -> str:
        """Return what a command prints that succeeds."""
        return self.succeed(*arguments, **settings)

    def refuses(self, *arguments: str, complaint: str, **settings: str) -> None:
        """Check that this is malformed input: told what is wrong, and nothing is created."""
        result = self.run(*arguments, **settings)
        assert (result.returncode, result.stdout) == (2, "")
        assert complaint in result.stderr
        assert "Traceback" not in result.stderr
        assert not self.database.exists()


@contextmanager
def own_logging() -> Iterator[None]:
    """Undo what a command does to the logging of this process."""
    try:
        yield
    finally:
        logging.basicConfig(handlers=[], force=True)
        for package in ("aftercommit", "things"):
            logging.getLogger(package).setLevel(logging.NOTSET)
