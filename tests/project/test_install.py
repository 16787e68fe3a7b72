"""What `make` installs has the versions that were tested, also what builds it."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
PROJECT = """\
[build-system]
requires = ["builder"]
build-backend = "builder"

[project]
name = "built"
version = "1"
optional-dependencies = { demo = [] }
"""


def a_builder(version: str, folder: Path) -> None:
    """Make a wheel of something that is asked to build, and says which it is."""
    about = f"builder-{version}.dist-info"
    with ZipFile(folder / f"builder-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("builder.py", f"raise SystemExit('this is builder {version}')")
        wheel.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: builder\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")


def test_what_builds_the_program_has_the_version_that_was_tested(tmp_path: Path) -> None:
    """Pip builds in an environment of its own, which knows nothing of the usual `-c`."""
    for version in ("1", "2"):
        a_builder(version, tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "constraints.txt").write_text("builder==1\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-m", "tools.install", ".venv", "demo"],
        cwd=tmp_path,
        env=os.environ | offline,
        capture_output=True,
        text=True,
    )

    assert "this is builder 1" in done.stderr + done.stdout
