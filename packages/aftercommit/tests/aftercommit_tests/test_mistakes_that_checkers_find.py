"""Mistakes that type checkers find: a forgotten `await`, a row of the table that cannot work."""

import json
import os
import re
import sys
import tomllib
from pathlib import Path
from subprocess import run

import pytest
from aftercommit.project import TEMPLATE

from aftercommit_tests.new_project.processes import types_of

pytestmark = pytest.mark.check

ROOT = Path(__file__).parents[4]
EXAMPLES = Path(__file__).parents[2] / "examples"
WRONG = [Path(__file__).with_name(name) for name in ("forgotten_awaits.py", "wrong_rows.py")]
MARK = re.compile(r"  # type: ignore\[(.+)\]$", re.MULTILINE)
FOUND = re.compile(r"(\w+\.py):(\d+): error: .*\[(.+)\]$", re.MULTILINE)
A_TEST = """
import pytest
from aftercommit_tests.builders import a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.forgotten_awaits import rings
from aftercommit_tests.misbehaving import on_made

pytest_plugins = ["aftercommit_tests.conftest"]

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_handler(anyio_backend: str, new_world: NewWorld) -> None:
    world = await new_world(event_handlers=on_made(rings))

    report = await world.bus.handle(a_command())

    assert report.failures == []
"""


def test_mypy_reports_each_mistake(tmp_path: Path) -> None:
    """A handler that forgets an `await` returns, so it counts as done, on whichever port.

    A row with the handler of another event would fail when that event comes.
    """
    expected, unmarked = set(), []
    for wrong in WRONG:
        lines = wrong.read_text().splitlines()
        marks = enumerate(map(MARK.search, lines), start=1)
        expected |= {(wrong.name, str(number), mark[1]) for number, mark in marks if mark}
        (copy := tmp_path / wrong.name).write_text(MARK.sub("", "\n".join(lines)))
        unmarked.append(str(copy))

    mypy = [sys.executable, "-m", "mypy", *unmarked]  # it knows the libraries since `make lint`
    checked = run(mypy, cwd=ROOT, capture_output=True, text=True, check=False)

    assert set(FOUND.findall(checked.stdout)) == expected, checked.stdout + checked.stderr
    codes = {code for _, _, code in expected}
    assert {"unused-coroutine", "no-untyped-def", "arg-type"} <= codes


def test_mypy_finds_no_mistake_in_what_users_write(shared_folder: Path) -> None:
    """In its strict mode and more, and with whichever version of SQLAlchemy is installed."""
    settings = (TEMPLATE / "pyproject.toml").read_text()
    codes = tomllib.loads(settings)["tool"]["mypy"]["enable_error_code"]
    strict = ["--config-file=", "--strict", "--strict-equality-for-none"]
    strict += [f"--enable-error-code={code}" for code in codes]
    for folder, files in {"": ["one_file.py"], "shop/after": ["main.py", "events.py"]}.items():
        checked = types_of(EXAMPLES / folder, shared_folder, *strict, *files)

        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_pyright_reports_each_row_that_cannot_work(tmp_path: Path) -> None:
    """In its strict mode, and nothing about those that can: editors show it while one types."""
    (wrong := tmp_path / "wrong_rows.py").write_text(MARK.sub("", WRONG[1].read_text()))
    lines = enumerate(WRONG[1].read_text().splitlines(), start=1)
    settings = {
        "typeCheckingMode": "strict",
        "include": [str(wrong)],
        "extraPaths": [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))

    pyright = [sys.executable, "-m", "basedpyright", "-p", str(tmp_path), "--outputjson"]
    pyright += ["--pythonpath", sys.executable]
    checked = run(pyright, capture_output=True, text=True, check=False)

    found = json.loads(checked.stdout)["generalDiagnostics"]
    errors = [each for each in found if each["severity"] == "error"]
    reported = {each["range"]["start"]["line"] + 1 for each in errors}
    assert reported == {number for number, line in lines if MARK.search(line)}, checked.stdout


def test_a_forgotten_await_fails_each_test_that_comes_upon_it(tmp_path: Path) -> None:
    """Python only warns that a coroutine was never awaited; in tests, warnings are errors."""
    (tmp_path / "test_it.py").write_text(A_TEST)

    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *settings, "-p", "no:cacheprovider", str(tmp_path)]
    found = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ran = run(command, cwd=ROOT, env=found, capture_output=True, text=True, check=False)

    assert "2 failed" in ran.stdout, ran.stdout + ran.stderr
    assert re.search("RuntimeWarning: coroutine '.*' was never awaited", ran.stdout)
