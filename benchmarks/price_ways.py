"""Measures one use case in several ways: each file of docs/price, run in a separate process."""

import ast
import inspect
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any

from allocation.domain import commands, events
from allocation.domain.users import User
from allocation.service_layer import emails, handlers

PRICE = Path(__file__).parents[1] / "docs" / "price"
TIMES = 50
REGION = re.compile(r"^\s*# begin\n(.*?)^\s*# end", re.MULTILINE | re.DOTALL)
OURS: tuple[Callable[..., Any], ...] = (
    commands.ChangeEmail,
    events.EmailChanged,
    User.change_email,
    handlers.change_email,
    handlers.send_change_notice,
    emails.change_notice,
)
TABLE_LINES = 2  # of TABLE.commands and TABLE.events


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of doing it: its file, and the distribution and the module that it needs."""

    what: str
    file: str
    needs: str | None = None
    module: str = "allocation"

    @property
    def lines(self) -> int:
        """The lines of the use case itself, without blank lines, comments and docstrings."""
        if self.file == "with_allocation":
            return sum(map(code_lines, map(inspect.getsource, OURS))) + TABLE_LINES
        (region,) = REGION.findall((PRICE / f"{self.file}.py").read_text())
        return code_lines(region)

    @property
    def is_there(self) -> bool:
        """Whether it can run here."""
        return find_spec(self.module) is not None

    @property
    def name(self) -> str:
        """Its name in the table."""
        return f"{self.what} {version(self.needs)}" if self.needs else self.what


WAYS = (
    Way(what="a plain function", file="plain"),
    Way(what="DBOS", file="with_dbos", needs="dbos", module="dbos"),
    Way(what="this application", file="with_allocation"),
)


def code_lines(source: str) -> int:
    """Count the lines that remain without comments, docstrings and blank lines."""
    tree = ast.parse(dedent(source))
    docstrings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(dedent(source).splitlines(), start=1)
    return sum(bool(re.match(r"\s*[^\s#]", line)) for n, line in lines if n not in docstrings)


def tried(way: Way, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run it in a process, and return its last line of output."""
    command = [sys.executable, str(PRICE / f"{way.file}.py"), str(folder), *arguments]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def survives(way: Way, folder: Path) -> bool:
    """Kill it before its notice, start it once more, and return whether the notice is sent."""
    (folder / "kill").touch()
    command = [sys.executable, str(PRICE / f"{way.file}.py"), str(folder)]
    killed = subprocess.run(command, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return bool(tried(way, folder, "again")["sent"])


def table(place: Path, times: int = TIMES) -> Iterator[str]:
    """Yield the table; what is not installed here is left out."""
    yield "| one use case | lines | statements | commits | ms | killed before the e-mail |"
    yield "|---|---|---|---|---|---|"
    for way in (way for way in WAYS if way.is_there):
        with TemporaryDirectory(dir=place) as one, TemporaryDirectory(dir=place) as other:
            found = tried(way, Path(one), str(times))
            fate = "sent later" if survives(way, Path(other)) else "**lost**"
        counted = f"{found['statements']} | {found['commits']} | {found['milliseconds']:.1f}"
        yield f"| [{way.name}](price/{way.file}.py) | {way.lines} | {counted} | {fate} |"
