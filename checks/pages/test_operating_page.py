"""Operating an outbox: each case of the page is produced, looked at, and mended as it says.

The application is `one_file.py`. Between the two blocks of a case, a test does what the page says
in words: it repairs the printer, or releases the class as it was.
"""

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from aftercommit_tests.processes import finished, started
from aftercommit_tests.warm import SOURCES

from checks.console_blocks import commands, shows
from tools.repository import ROOT

pytestmark = pytest.mark.check

PACKAGE = ROOT / "packages" / "aftercommit"
PAGE = (PACKAGE / "docs" / "operating.md").read_text()
CASES: dict[str, str] = dict(
    re.findall(
        r"^### (.*?)\n(.*?)(?=^### |\Z)",
        PAGE.partition("## Cases")[2].partition("\n## ")[0],
        re.MULTILINE | re.DOTALL,
    )
)
EXAMPLE = (PACKAGE / "examples" / "one_file.py").read_text()
ONE_ATTEMPT = {"SHOP_MAX_ATTEMPTS": "1"}
LONG = {"SHOP_LEASE_SECONDS": "600"}  # it has not ended when the next line runs

Scenario = Generator[None, None, None]
"""Produces a case, yields, and repairs what no command repairs."""


@dataclass
class Shop:
    """The example, in a folder of its own."""

    folder: Path

    def write(self, old: str = "", new: str = "") -> None:
        """Release the program, with one change."""
        assert old in EXAMPLE
        text = EXAMPLE.replace(old, new) if old else EXAMPLE
        (self.folder / "one_file.py").write_text(text)

    def order(self, option: str = "--die-committed") -> None:
        """Place order 8 in a process that dies."""
        command = [sys.executable, "one_file.py", "8", option]
        environment = os.environ | LONG | {"PYTHONPATH": SOURCES}
        died = subprocess.run(command, cwd=self.folder, env=environment, check=False, timeout=600)
        assert died.returncode < 0

    def run(self, line: str, **settings: str) -> str:
        """Run a command of the page; return what it prints."""
        program, *arguments = shlex.split(line)
        environment = os.environ | settings | {"PYTHONPATH": SOURCES}
        ended = finished(started(program, *arguments, folder=self.folder, environment=environment))
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def change(self, statement: str) -> None:
        """Change the database from outside."""
        with closing(sqlite3.connect(self.folder / "shop.db")) as connection, connection:
            connection.execute(statement)

    def event(self) -> str:
        """Return the id of the only event."""
        with closing(sqlite3.connect(self.folder / "shop.db")) as connection:
            [(found,)] = connection.execute("SELECT id FROM aftercommit_events").fetchall()
        text = str(found).replace("-", "")
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def nothing_happens(shop: Shop) -> Scenario:
    shop.order()
    yield


def parked(shop: Shop) -> Scenario:
    shop.order()
    shop.write("    print(f", '    raise OSError("the printer is out of paper")\n    print(f')
    shop.run("aftercommit worker --until-idle one_file:outbox", **ONE_ATTEMPT)
    yield
    shop.write()


def unreadable(shop: Shop) -> Scenario:
    shop.order()
    shop.write("    order_id: int\n", "    order_id: int\n    number: int\n")
    shop.run("aftercommit worker --until-idle one_file:outbox")
    yield
    shop.write()


def died(shop: Shop) -> Scenario:
    shop.order("--die-reserving")
    shop.change("UPDATE aftercommit_deliveries SET available_at = 0")
    yield


def paused(shop: Shop) -> Scenario:
    shop.order()
    yield


def renamed(shop: Shop) -> Scenario:
    shop.order()
    shop.write("confirm", "notify")
    shop.run("aftercommit worker --until-idle one_file:outbox")
    yield


SCENARIOS = (nothing_happens, parked, unreadable, died, paused, renamed)


@pytest.mark.parametrize(("case", "scenario"), [*zip(CASES, SCENARIOS, strict=True)], ids=CASES)
def test_a_case_is_what_the_page_shows_and_is_mended_as_it_says(
    case: str, scenario: Callable[[Shop], Scenario], tmp_path: Path
) -> None:
    """An operator of somebody else's application has nothing but this page."""
    shop = Shop(tmp_path)
    shop.write()
    look, do = re.findall(r"```console\n(.*?)```", CASES[case], re.DOTALL)

    with closing(scenario(shop)) as trouble:
        next(trouble)
        carry_out(shop, look)
        assert next(trouble, "repaired") == "repaired"
        carry_out(shop, do)

    assert shop.run("aftercommit deliveries list one_file:outbox") == ""


def carry_out(shop: Shop, block: str) -> None:
    """Run commands as the page has them, and compare what they print with what the page shows."""
    for step in commands(block.replace("EVENT_UUID", shop.event())):
        printed = shop.run(step.line)
        assert shows(printed, step.shown), f"{step.line}\n{printed}"
