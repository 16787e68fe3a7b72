"""Who installs the engine gets all that it needs, and nothing of any application."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.environments import PACKAGES, build_wheels, make_environment, run

EXAMPLE = Path(__file__).parents[2] / "examples" / "one_file.py"

Command = Callable[..., str]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python in an environment that has our two wheels, and what they ask for without an extra."""
    wheels = build_wheels(tmp_path_factory.mktemp("dist"), *PACKAGES)
    environment = tmp_path_factory.mktemp("environment")
    return make_environment(environment, wheels, wanted="aftercommit") / "python"


@pytest.fixture
def things(python: Path, tmp_path: Path) -> Command:
    """The command of a small application, which stands beside nothing else."""
    return lambda *arguments: run(str(python), str(EXAMPLE), *arguments, cwd=tmp_path)


def test_there_is_no_other_application(python: Path) -> None:
    """It is not found by accident."""
    look = "from importlib.util import find_spec; print(find_spec('allocation'))"

    assert run(str(python), "-c", look) == "None\n"


def test_an_application_of_one_file_runs_on_it(things: Command, tmp_path: Path) -> None:
    """Its handlers run after the commit; its command line has what each has."""
    assert "make-thing" in things("--help")
    things("make-thing", "lamp")

    rung, _, key = (tmp_path / "bell.txt").read_text().strip().partition(" ")
    assert (rung, key.partition(":")[2]) == ("lamp", "announce")
    assert rows(tmp_path, "SELECT text FROM notes") == [("lamp",)]
    assert "aftercommit_0001" in things("db", "upgrade")


def test_what_one_process_has_stored_another_one_does(things: Command, tmp_path: Path) -> None:
    """Later or not: the worker takes what is due, and leaves the rest."""
    deliveries = "SELECT handler, completed_at IS NOT NULL FROM aftercommit_deliveries ORDER BY 1"
    things("make-thing", "lamp")
    with closing(sqlite3.connect(tmp_path / "things.db")) as database, database:
        database.execute(
            "UPDATE aftercommit_deliveries SET completed_at = NULL, available_at = 0, owner = NULL"
            " WHERE handler = 'take_note'"
        )
    assert rows(tmp_path, deliveries) == [("announce", 1), ("forget", 0), ("take_note", 0)]

    things("worker", "--until-idle")

    assert rows(tmp_path, deliveries) == [("announce", 1), ("forget", 0), ("take_note", 1)]
    assert rows(tmp_path, "SELECT text FROM notes") == [("lamp",), ("lamp",)]


def rows(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "things.db")) as database:
        return database.execute(statement).fetchall()
