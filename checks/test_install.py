"""Where something is missing, `make` says what to do, and shows no traceback."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copy2

import pytest

from tools.install import make_paths_relative
from tools.repository import ROOT

pytestmark = pytest.mark.check

UNREACHABLE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_RETRIES": "1",
}
MODULES = "import sys; sys.modules['tomllib'] = None; import tools.install"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the installation reads of the project."""
    for file in (*ROOT.glob("packages/*/pyproject.toml"), ROOT / "pyproject.toml"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy2(file, copy)
    (tmp_path / "constraints.txt").touch()
    return tmp_path


def install(project: Path, environment: str = ".venv", **variables: str) -> str:
    """Install what the demo needs, which fails; return what is said."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.install", environment, "demo"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_old_python_is_told_which_one_is_needed(project: Path) -> None:
    """Ubuntu 22.04 has 3.10, which lacks a module that this one has; and another may be there."""
    subprocess.run([sys.executable, "-c", MODULES], cwd=ROOT, check=True)
    file = project / "pyproject.toml"
    file.write_text(file.read_text().replace('">=3.11"', '">=3.90"'))

    said = install(project)

    assert "error: Python 3.90 or newer is needed; this is 3." in said
    assert "add PYTHON=python3.92 to the command" in said
    assert not (project / ".venv").exists()


def test_without_a_network_the_last_line_says_so(project: Path) -> None:
    """Pip ends with advice about versions, which would mislead."""
    said = install(project, **UNREACHABLE)

    assert "is there a network" in said.splitlines()[-1]
    assert "conflict" not in said


def test_a_folder_that_cannot_be_written_is_named(project: Path) -> None:
    """Before anything is downloaded."""
    said = install(project, "not/there/.venv")

    assert f"you cannot write to the folder {project}/not/there" in said.splitlines()[-1]


def test_a_folder_may_have_any_letters_in_any_locale(tmp_path: Path) -> None:
    """Python 3.11 and 3.12 read the paths in an environment in the encoding of the locale."""
    sources, environment = tmp_path / "Проект" / "src", tmp_path / "Проект" / ".venv"
    sources.mkdir(parents=True)
    (sources / "its_module.py").touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "_its.pth").write_text(f"{sources}\n{sources}")

    make_paths_relative(environment)

    command = [str(environment / "bin" / "python"), "-c", "import its_module"]
    subprocess.run(command, env=os.environ | {"LC_ALL": "C"}, check=True)
