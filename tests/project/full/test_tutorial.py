"""Whoever follows the tutorials, step by step, sees what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.consoles import Command, shows
from tests.project.full.conftest import TIMEOUT_SECONDS, Copy
from tests.project.tutorials import Change, tutorials


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("title", tutorials())
def test_a_tutorial_can_be_followed(title: str, copy: Copy) -> None:
    """In a copy of the project: files are written and changed, and commands print what is shown."""
    for step in tutorials()[title]:
        match step:
            case Change(file, make):
                path = copy.folder / file
                path.write_text(make(path.read_text() if path.exists() else ""))
            case Command(line, shown):
                result = typed(copy, line)
                assert shows(result.stdout, shown), f"$ {line}\n{result.stdout}"
                assert (result.returncode != 0) == says_that_it_fails(shown), f"$ {line}"


def says_that_it_fails(shown: tuple[str, ...]) -> bool:
    return bool(re.search(r"error|failed", "\n".join(shown), re.IGNORECASE))


def typed(copy: Copy, line: str) -> "subprocess.CompletedProcess[str]":
    """Type a command into a shell in a copy whose environment is that of this process."""
    stamps = " ".join(f"-o {sys.prefix}/installed-{part}" for part in ("demo", "test"))
    installed = f"-s {stamps} VENV={sys.prefix} MYPY_CACHE_DIR={copy.mypy_cache}"
    line = line.replace("make ", f"make {installed} ", 1)
    return subprocess.run(
        ["bash", "-c", f'allocation() {{ python -m allocation "$@"; }}; {line}'],
        cwd=copy.folder,
        env=copy.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
