"""A project is made of whole files, whatever it is called; what cannot be made writes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from aftercommit import InvalidValue
from aftercommit.project import OPTIONS, new_project

SHORT, LONG = "ab", "a_name_as_long_as_names_may_be_"
MOST_FILES, MOST_LINES = 45, 1580  # with all options


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
    """No file is another one because of it, so an upgrade can compare them."""
    without, with_it = tmp_path / "a" / "it", tmp_path / "b" / "it"
    new_project(without, [])
    new_project(with_it, [option])

    for file in (each for each in without.rglob("*") if each.is_file()):
        there = (with_it / file.relative_to(without)).read_text()
        assert set(file.read_text().splitlines()) <= set(there.splitlines())
        if file.name not in ("extension_list.py", "pyproject.toml"):
            assert file.read_text() == there


NOT_PACKAGES = ["Shop", "9lives", "class", "json", "click", "aio-pika", "tests", "a" * 40, "a.b"]
IMPOSSIBLE = {
    **dict.fromkeys(
        ["Shop", "9lives", "class", "json", "click", "aio-pika", "tests", "a" * 40, "a.b"],
        "be that of a package",
    ),
    "it --htp": "--htp is no option; there are --http, --brokers",
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
        with pytest.raises(InvalidValue, match="there already"):
            new_project(tmp_path / taken, [])
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["mine"]


def test_an_edited_pyproject_keeps_the_environment(tmp_path: Path) -> None:
    """Its README asks for such edits, and a new environment takes minutes."""
    new_project(tmp_path / "kiosk", [])
    pip = tmp_path / "kiosk" / ".venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text("#!/bin/sh\necho pip $1\n")
    pip.chmod(0o755)

    make = ["make", "-s", ".venv/installed", "PYTHON=false"]  # which could make no environment
    made = subprocess.run(make, cwd=tmp_path / "kiosk", capture_output=True, text=True)

    assert (made.returncode, made.stdout) == (0, "pip install\n"), made.stderr
