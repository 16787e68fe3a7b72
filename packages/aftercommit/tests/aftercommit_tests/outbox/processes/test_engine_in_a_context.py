"""The commands of an outbox whose engine is there in the context of its application only."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import make_url

from aftercommit_tests.processes import finished, started
from aftercommit_tests.warm import SOURCES

pytestmark = pytest.mark.check

MODULE = "aftercommit_tests.outbox.processes.in_a_context"
USED = {
    "sqlite": "over sqlite+aiosqlite (of the extra sqlite); the application has sqlite+pysqlite",
    "postgresql": "over postgresql+psycopg (of the extra psycopg)",
}


class Application:
    """The application in a folder, on a database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.kind = make_url(url).get_backend_name()
        driver = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}[self.kind]
        self._url = make_url(url).set(drivername=driver)
        self.folder = folder

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a module of Python."""
        database = self._url.render_as_string(hide_password=False)
        own = os.environ | {"PYTHONPATH": SOURCES, "DATABASE": database} | environment
        return finished(started(*arguments, folder=self.folder, environment=own))

    def command(self, *words: str, outbox: str = "outbox", **environment: str) -> Any:
        """Run a command of the outbox."""
        return self.run("aftercommit", *words, f"{MODULE}:{outbox}", **environment)

    def orders(self) -> list[Any]:
        """Return what has followed from the orders, in the database."""
        engine = sa.create_engine(self._url)
        with engine.connect() as connection:
            found_in = "SELECT id, reserved, CAST(notes AS TEXT) FROM orders"  # as it is stored
            rows = connection.execute(sa.text(found_in))
            found = [tuple(map(str, row)) for row in rows]
        engine.dispose()
        return found

    def execute(self, script: str) -> None:
        """Execute a script in the database, as its own program does it."""
        engine = sa.create_engine(self._url)
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if self.kind == "sqlite":
                driver.executescript(script)
            else:
                driver.autocommit = True
                driver.execute(script, prepare=False)
        engine.dispose()

    def confirmed(self) -> list[list[str]]:
        """Return what has followed outside."""
        return [line.split() for line in (self.folder / "confirmed.txt").read_text().splitlines()]


@pytest.fixture
def application(tmp_path: Path, database_url: str) -> Application:
    """The application, whose database has the tables of the outbox."""
    return Application(tmp_path, database_url)


def test_a_worker_that_is_killed_in_a_handler_has_done_nothing_of_it(
    tmp_path: Path, empty_url: str
) -> None:
    """The next one does it once. Both have the engine, and its serializer, from the context."""
    application = Application(tmp_path, empty_url)
    upgraded = application.command("db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    placed = application.run(MODULE, "7")
    assert placed.returncode == 0, placed.stderr
    (application.folder / "die").touch()

    died = application.command("worker", "--until-idle")
    worked = application.command("worker", "--until-idle")

    assert died.returncode == -signal.SIGKILL
    assert worked.returncode == 0, worked.stderr
    [(number, reserved, notes)] = application.orders()
    assert (number, reserved) == ("7", "1")
    assert str(UUID(int=7)) in notes
    assert {number for number, *_ in application.confirmed()} == {"7"}
    assert len({key for _, key, _ in application.confirmed()}) == 1
    assert {kind for *_, kind in application.confirmed()} == {application.kind}


def test_a_check_shows_the_driver_and_all_connections(application: Application) -> None:
    """Those of the worker, and those of the application beside them."""
    checked = application.command("check")

    assert checked.returncode == 0, checked.stderr
    assert USED[application.kind] in checked.stdout
    most = {"sqlite": 14, "postgresql": 16}[application.kind]
    beside = f"at most {most} for a process, besides up to 13 of the application's own engine"
    assert beside in checked.stdout


def test_an_upgrade_can_be_printed_for_others_to_do_it(tmp_path: Path, empty_url: str) -> None:
    """The statements make what the command makes; afterwards there is nothing left to do."""
    application = Application(tmp_path, empty_url)

    printed = application.command("db", "upgrade", "--sql")
    assert printed.returncode == 0, printed.stderr
    assert application.command("check").returncode == 3
    application.execute(printed.stdout)

    assert application.command("check").returncode == 0
    placed = application.run(MODULE, "7")
    assert placed.returncode == 0, placed.stderr
    worked = application.command("worker", "--until-idle")
    assert worked.returncode == 0, worked.stderr
    assert application.command("db", "upgrade", "--sql").stdout == "BEGIN;\n\nCOMMIT;\n"


@pytest.mark.parametrize("words", [("check",), ("worker", "--until-idle"), ("db", "upgrade")])
def test_a_command_outside_the_context_says_what_to_do(
    application: Application, words: tuple[str, ...]
) -> None:
    """With the exit code of malformed input, as for a variable that names another database."""
    outside = application.command(*words, outbox="outside")
    elsewhere = application.command(*words, SHOP_DATABASE_URL="sqlite:///elsewhere.db")

    assert outside.returncode == 2
    assert "its function raised LookupError" in outside.stderr
    assert "give the outbox a `context`, such as context=app.app_context" in outside.stderr
    assert elsewhere.returncode == 2
    assert "SHOP_DATABASE_URL names another database than the engine" in elsewhere.stderr
    assert not (application.folder / "elsewhere.db").exists()
