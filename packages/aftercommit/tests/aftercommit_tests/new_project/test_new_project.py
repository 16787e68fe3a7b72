"""A project is made of whole files, whatever it is called; what cannot be made writes nothing."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from aftercommit import InvalidValue
from aftercommit.project import LISTS, OPTIONS, new_project

pytestmark = pytest.mark.check

SHORT, LONG = "ab", "a_name_as_long_as_names_may_be_"
# with all options; thirteen files are for stored events, git, pre-commit, CI, Docker, Compose,
# settings, versions, a licence, a changelog and the guides
MOST_FILES, MOST_LINES = 55, 1572
WITH_PARTS = {*LISTS, ".env.example", "Makefile", "README.md", "compose.yaml", "guides.md"}
IDENTITY = {
    f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


def texts(files: Sequence[Path]) -> dict[str, str]:
    """Return what is in the files of a project."""
    return {file.name: file.read_text() for file in files}


@pytest.mark.parametrize("name", [SHORT, LONG])
@pytest.mark.parametrize("options", [[], [*OPTIONS]], ids=["alone", "all"])
def test_its_style_is_right_whatever_it_is_called(
    name: str, options: list[str], tmp_path: Path
) -> None:
    """Otherwise it would be red as it comes."""
    made = new_project(tmp_path / name, options)

    assert len(made) <= MOST_FILES
    assert sum(len(f.read_text().splitlines()) for f in made if f.suffix == ".py") <= MOST_LINES
    assert [file for file in made if "shop" in file.read_text().lower()] == []
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        checked = subprocess.run(ruff, cwd=tmp_path / name, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_adds_files_and_lines_of_lists(option: str, tmp_path: Path) -> None:
    """No code is another one because of it, so an upgrade can compare files."""
    without, with_it = tmp_path / "a" / "it", tmp_path / "b" / "it"
    new_project(without, [])
    new_project(with_it, [option])

    for file in (each for each in without.rglob("*") if each.is_file()):
        there = (with_it / file.relative_to(without)).read_text()
        assert set(file.read_text().splitlines()) - {"DEV := worker"} <= set(there.splitlines())
        if file.name not in WITH_PARTS:
            assert file.read_text() == there


OF_OPTIONS = {
    "--http": r"http\.py|OPERATOR_TOKEN|kiosk serve|fastapi\b(?!=|_)|over HTTP|@guarded",
    "--brokers": r"broker_messages|BROKER_URLS|kiosk consume|rabbitmq|SUBSCRIPTIONS",
    "--license": r"^license",
}


@pytest.mark.parametrize("option", OF_OPTIONS)
def test_nothing_speaks_of_what_the_project_has_not(option: str, tmp_path: Path) -> None:
    """Anyone who reads it would look for it."""
    of_option = re.compile(OF_OPTIONS[option], re.M)
    without = texts(new_project(tmp_path / "a" / "kiosk", [*OPTIONS.keys() - {option}]))
    with_it = texts(new_project(tmp_path / "b" / "kiosk", [option]))

    assert [name for name, text in without.items() if of_option.search(text)] == []
    assert any(of_option.search(text) for text in with_it.values())
    for text in with_it.values():
        assert not re.search(r"--(http|brokers|license|changelog)\b", text)
        assert not re.search(r"^(#|<!--) (if|end)\b", text, re.M)


NOT_PACKAGES = ["Shop", "9lives", "class", "json", "click", "aio-pika", "starlette", "watchfiles"]
IMPOSSIBLE = {
    **dict.fromkeys([*NOT_PACKAGES, "tests", "a" * 40, "a.b"], "be the name of a package"),
    "it --htp": "--htp is not an option; these are --http, --brokers",
}


@pytest.mark.parametrize(("line", "problem"), IMPOSSIBLE.items())
def test_a_name_or_an_option_that_is_none_is_refused(
    line: str, problem: str, tmp_path: Path
) -> None:
    """Before anything is written."""
    name, *options = line.split()
    with pytest.raises(InvalidValue, match=problem):
        new_project(tmp_path / name, options)

    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """Also where it is a file."""
    (tmp_path / "full").mkdir()
    for file in (tmp_path / "full" / "mine", tmp_path / "file"):
        file.write_text("mine")

    for taken in ("full", "file"):
        with pytest.raises(InvalidValue, match="already exists"):
            new_project(tmp_path / taken, [])
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["mine"]


def aftercommit_new(
    *arguments: str, environment: Mapping[str, str] = IDENTITY
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "aftercommit", "new", *arguments]
    of_git = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(
        command,
        env={**os.environ, **of_git, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_begins_as_a_commit(tmp_path: Path) -> None:
    """So the first change can be seen; but not within the repository of something else."""
    made = aftercommit_new(str(tmp_path / "kiosk"))
    within = aftercommit_new(str(tmp_path / "kiosk" / "inner"))
    without = aftercommit_new(str(tmp_path / "other"), "--no-git")
    nobody = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "user.useConfigOnly",
        "GIT_CONFIG_VALUE_0": "true",
    }
    unknown = aftercommit_new(str(tmp_path / "third"), environment=nobody)

    assert "its first commit is made" in made.stdout, made.stderr
    assert (
        git(tmp_path / "kiosk", "log", "--format=%s")
        == "A project on aftercommit, as it was made\n"
    )
    assert git(tmp_path / "kiosk", "status", "--short") == "?? inner/\n"
    assert "inside another Git" in within.stdout
    assert without.returncode == 0
    assert not (tmp_path / "other" / ".git").exists()
    assert "set user.name" in unknown.stdout


def answered(answers: str, *arguments: str) -> str:
    """Call the command at a terminal, and return what it shows."""
    inner, outer = pty.openpty()
    command = [sys.executable, "-m", "aftercommit", "new", "--no-git", *arguments]
    with subprocess.Popen(command, stdin=outer, stdout=subprocess.PIPE, text=True) as process:
        os.close(outer)
        os.write(inner, answers.encode())
        shown, _ = process.communicate(timeout=60)
    os.close(inner)
    assert process.returncode == 0
    return shown


def test_a_terminal_is_asked_what_the_project_has(tmp_path: Path) -> None:
    """Anyone who has not read `--help` learns what there is."""
    shown = answered("y\n\nn\ny\n", str(tmp_path / "kiosk"))

    assert [each.question in shown for each in OPTIONS.values()] == [True] * len(OPTIONS)
    there = {path.name for path in (tmp_path / "kiosk").rglob("*.*")}
    assert {"http.py", "CHANGELOG.md"} <= there
    assert "broker_messages.py" not in there


@pytest.mark.parametrize("arguments", [["--defaults"], ["--http"]])
def test_a_terminal_is_not_asked_if_something_was_said(
    arguments: list[str], tmp_path: Path
) -> None:
    """A script may have a terminal, too."""
    assert "?" not in answered("", str(tmp_path / "kiosk"), *arguments)


def test_an_edited_pyproject_keeps_the_environment(tmp_path: Path) -> None:
    """Its README asks for such edits, and a new environment takes minutes."""
    new_project(tmp_path / "kiosk", [])
    pip = tmp_path / "kiosk" / ".venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text("#!/bin/sh\necho pip $1 in $PIP_CONSTRAINT\n")
    pip.chmod(0o755)

    make = ["make", "-s", ".venv/installed", "PYTHON=false"]  # which could make no environment
    made = subprocess.run(make, cwd=tmp_path / "kiosk", capture_output=True, text=True)

    assert (made.returncode, made.stdout) == (0, "pip install in constraints.txt\n"), made.stderr


@pytest.mark.parametrize("options", [[], [*OPTIONS]], ids=["alone", "all"])
@pytest.mark.parametrize("wheels", [False, True], ids=["published", "vendored"])
def test_containers_are_made_of_what_is_there(
    options: list[str], wheels: bool, tmp_path: Path
) -> None:
    """A file that is copied, a process that is started, a target that CI calls."""
    wheel = tmp_path / "aftercommit-1-py3-none-any.whl"
    wheel.touch()
    folder = tmp_path / "kiosk"
    new_project(folder, options, [wheel] if wheels else [])

    steps = (folder / "Dockerfile").read_text()
    copied = [each.split()[:-1] for each in re.findall(r"^COPY (.*)", steps, re.M)]
    assert [name for names in copied for name in names if not (folder / name).exists()] == []
    assert ("vendor" in steps) is wheels
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    assert compose["services"].keys() == {"upgrade", "worker", "postgres", "mailpit"} | (
        {"web", "consumer", "rabbitmq"} if options else set()
    )
    volumes = {
        v.partition(":")[0] for s in compose["services"].values() for v in s.get("volumes", ())
    }
    assert compose["volumes"].keys() == volumes
    for service in compose["services"].values():
        assert {*service.get("depends_on", ())} <= compose["services"].keys()
        assert {*service.get("environment", ())} <= settings(folder) | SERVERS
    workflow = yaml.safe_load((folder / ".github/workflows/checks.yaml").read_text())
    called = [each["run"] for each in workflow["jobs"]["checks"]["steps"] if "run" in each]
    assert called == ["make run", "make lint", "make coverage"]
    hooks = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [each["entry"].split()[0] for each in hooks] == [".venv/bin/ruff"] * 2 + [
        ".venv/bin/mypy"
    ]


SERVERS = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"}
SERVERS |= {"RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS"}


def settings(folder: Path) -> set[str]:
    """Return the settings that a project lists."""
    return set(re.findall(r"^#(KIOSK_\w+)=", (folder / ".env.example").read_text(), re.M))


def test_a_licence_says_whose_it_is(tmp_path: Path) -> None:
    """And since when."""
    new_project(tmp_path / "kiosk", ["--license"])

    text: Any = (tmp_path / "kiosk" / "LICENSE").read_text()
    assert re.search(r"^Copyright \(c\) 20\d\d the authors of kiosk$", text, re.M)
