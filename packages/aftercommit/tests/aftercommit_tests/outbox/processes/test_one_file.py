"""The console of the README: one file that is killed, started again, and has lost nothing."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from aftercommit_tests.processes import finished, started
from aftercommit_tests.warm import SOURCES

pytestmark = pytest.mark.check

PACKAGE = Path(__file__).parents[4]
LONG = {"SHOP_LEASE_SECONDS": "600"}  # it has not ended when the next line runs
KILLED = "Killed"  # as the shell says it
BY_URL = """
from aftercommit import Outbox, on
from one_file import OrderPlaced, confirm, reserve

outbox = Outbox("shop", "sqlite:///shop.db", [on(OrderPlaced, reserve, confirm)])
"""
SHOWN = {
    "README.md": "Kill it",
    "docs/operating.md": "Look",
    "docs/outbox.md": "Five minutes on SQLite",
}
A_SECOND = "await anyio.sleep(1)"
UNTIL_DONE = """
        import sqlite3
        left = "SELECT 1 FROM aftercommit_deliveries WHERE completed_at IS NULL"
        while sqlite3.connect("shop.db").execute(left).fetchone():
            await anyio.sleep(0.05)
"""
WRONG_TARGETS = {
    "nothing:outbox": "there is no module nothing",
    "one_file:engine": "is no outbox; one_file has one_file:outbox",
    "broken:outbox": "broken cannot be imported: ImportError: no module of that name",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that has the file, whose process waits for its handlers, and not for a second."""
    text = (PACKAGE / "examples" / "one_file.py").read_text()
    assert A_SECOND in text
    (tmp_path / "one_file.py").write_text(text.replace(A_SECOND, UNTIL_DONE))
    return tmp_path


def run(line: str, folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of the console."""
    program, *arguments = line.split()
    environment = os.environ | LONG | settings | {"PYTHONPATH": SOURCES}
    if program == "aftercommit":
        return finished(started(program, *arguments, folder=folder, environment=environment))
    environment["PYTHONUNBUFFERED"] = "1"  # a terminal shows what was printed before a kill
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def end_leases(folder: Path) -> None:
    """Let the time pass that a dead process holds what it has claimed."""
    with closing(sqlite3.connect(folder / "shop.db")) as connection, connection:
        connection.execute("UPDATE aftercommit_deliveries SET available_at = 0 WHERE attempts > 0")


@pytest.mark.parametrize(("page", "part"), SHOWN.items())
def test_what_a_page_shows_of_kills_is_what_happens(page: str, part: str, folder: Path) -> None:
    """Anyone who tries it sees the same."""
    text = (PACKAGE / page).read_text().partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    assert blocks
    for each in re.split(r"^\$ ", "".join(blocks), flags=re.MULTILINE)[1:]:
        line, *shown = each.splitlines()
        if "worker" in line:
            end_leases(folder)
        process = run(line, folder)
        printed = process.stdout.splitlines()
        expected = [text for text in shown if text != KILLED]

        assert process.returncode == (-signal.SIGKILL if KILLED in shown else 0), process.stderr
        assert len(printed) == len(expected), line
        for pattern in (".*".join(map(re.escape, text.split("…"))) for text in expected):
            assert any(re.fullmatch(pattern, text) for text in printed), (line, pattern)


def test_what_a_command_tells_to_run_can_be_run(folder: Path) -> None:
    """With the outbox that was named: no program is called `shop`."""
    assert run("python one_file.py 7 --die-committed", folder).returncode == -signal.SIGKILL
    listed = run("aftercommit deliveries list one_file:outbox", folder).stdout
    (event_id,) = re.findall(r"^(\S+)  confirm ", listed, re.MULTILINE)
    retried = run(f"aftercommit deliveries retry {event_id} confirm one_file:outbox", folder)

    (told,) = re.findall(r'; run "(.*)"\n', retried.stdout)
    worked = run(f"{told} --until-idle", folder)

    assert (worked.returncode, worked.stderr) == (0, "")
    assert "order 7 is confirmed" in worked.stdout


def test_a_trace_is_found_by_what_it_is_about(folder: Path) -> None:
    """A number, as many applications have it, is no id of ours."""
    for line in ("python one_file.py 7", "python one_file.py 8"):
        run(line, folder)

    shown = run("aftercommit trace 7 one_file:outbox", folder)

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("order_placed") == 1
    assert "confirm  done" in shown.stdout
    for source in ("shop.example", "github:push"):
        no_message = run(f"aftercommit trace {source} request-1 one_file:outbox", folder)
        assert f"is found by {source} request-1" in no_message.stderr


@pytest.mark.parametrize(("target", "problem"), WRONG_TARGETS.items())
def test_a_wrong_name_is_told_in_a_sentence(target: str, problem: str, folder: Path) -> None:
    """With the exit code of malformed input."""
    (folder / "broken.py").write_text('raise ImportError("no module of that name")')

    refused = run(f"aftercommit worker {target}", folder)

    assert refused.returncode == 2
    assert problem in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_check_tells_what_is_wrong_by_its_exit_code(folder: Path) -> None:
    """All is well, the schema is missing, nobody answers, the URL is wrong."""
    run("python one_file.py", folder)
    (folder / "by_url.py").write_text(BY_URL)
    away = "postgresql://nobody@127.0.0.1:1/shop"
    outcomes = {
        "": (0, "connections"),
        "sqlite:///new.db": (3, "there is no file"),
        away: (3, "not available"),
        "mysql://shop": (2, "database URL"),
    }

    for url, (code, text) in outcomes.items():
        checked = run("aftercommit check by_url:outbox", folder, SHOP_DATABASE_URL=url)
        assert (checked.returncode, text in checked.stdout + checked.stderr) == (code, True), url
