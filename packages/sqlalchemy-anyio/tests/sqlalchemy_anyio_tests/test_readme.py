"""What the README of the package shows is run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.check

README = Path(__file__).parents[2] / "README.md"


def test_the_examples_run(backend: str, tmp_path: Path) -> None:
    """The first is the first thing people try."""
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    said = [_said_by(each.replace('"trio"', f'"{backend}"'), tmp_path) for each in examples]

    assert said == ["Иван\n", "6 calls\n"]


def _said_by(example: str, folder: Path) -> str:
    command = [sys.executable, "-X", "utf8", "-c", example]
    program = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
    assert program.stderr == ""
    return program.stdout
