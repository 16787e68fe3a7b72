"""What the README of the package shows is run."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_example_runs(backend: str, tmp_path: Path) -> None:
    """It is the first thing people try."""
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    command = [sys.executable, "-X", "utf8", "-c", example.replace('"trio"', f'"{backend}"')]

    program = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")

    assert (program.stdout, program.stderr) == ("Иван\n", "")
