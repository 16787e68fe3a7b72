"""What the README of the package shows is run, and its links lead somewhere."""

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


def test_the_links_and_the_tests_it_names_exist() -> None:
    """Readers follow them into the code."""
    text = README.read_text()
    links = [README.parent / link for link in re.findall(r"\]\(([^)]+)\)", text)]
    tests = [Path(__file__).parent / name for name in re.findall(r"`(test_\w+\.py)`", text)]

    assert [path for path in (*links, *tests) if not path.exists()] == []


def test_it_names_every_file_of_the_package() -> None:
    """A new file has its line."""
    files = {path.name for path in (README.parent / "src" / "sqlalchemy_anyio").glob("*.py")} - {
        "__init__.py"
    }

    assert files == set(re.findall(r"^\| \[(\w+\.py)\]", README.read_text(), re.MULTILINE))
