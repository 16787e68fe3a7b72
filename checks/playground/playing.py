"""Runs the real playground, and looks at it from outside: processes, database, panel."""

import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aftercommit_tests.processes import LIMIT_SECONDS, stat_of, wait_until

from checks.processes import Application

KEEPER = b"playground.reaper"


@dataclass
class Playing:
    """A playground that runs."""

    process: "subprocess.Popen[str]"
    url: str
    token: str
    folder: Path
    client: httpx.Client

    def state(self) -> Any:
        """Return what the panel shows."""
        return self.client.get("/playground/state").raise_for_status().json()

    def order(self, path: str, **body: object) -> None:
        """Do what a button of the panel does."""
        self.client.post(f"/playground/{path}", json=body).raise_for_status()

    def pids(self) -> dict[str, int]:
        """Return the numbers of the processes that can be broken."""
        return {each["name"]: each["pid"] for each in self.state()["processes"] if each["pid"]}

    def emails(self, recipient: str, subject: str) -> list[str]:
        """Return the Message-IDs of what has arrived, each once."""
        return [
            each["message_id"]
            for each in self.state()["mail"]["latest"]
            if each["recipient"] == recipient and each["subject"].startswith(subject)
            if not each["is_repeated"]  # at least once: a busy machine has repeated it
        ]

    def rows(self, statement: str) -> list[Any]:
        """Query the database."""
        with closing(sqlite3.connect(self.folder / "playground.db")) as connection:
            return connection.execute(statement).fetchall()

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it by a signal; return how it ends."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_SECONDS)


@contextmanager
def playing(application: Application) -> Iterator[Playing]:
    """Run the playground beside a test, when all of it is there."""
    with application.running("--port", "0", "--no-browser", module=["playground"]) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        found = re.search(r"(http://127\.0\.0\.1:\d+)/#code=\S+; the token: (\S+)$", told)
        assert found, process.communicate()
        operator = {"Authorization": f"Bearer {found[2]}"}
        with httpx.Client(base_url=found[1], headers=operator, timeout=LIMIT_SECONDS) as client:
            play = Playing(process, found[1], found[2], folder_of(process.pid), client)
            wait_until(lambda: play.rows("SELECT * FROM coupon_batches"))  # the web process answers
            yield play


def folder_of(pid: int) -> Path:
    """Return the folder of a playground: its keeper has been told."""
    children = [number for number, parent in living().items() if parent == pid]
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    (keeper,) = [command for command in commands if KEEPER in command]
    return Path(keeper.split(b"\0")[-2].decode())


def family_of(pid: int) -> set[int]:
    """Return the numbers of a process, and of all that it and its have started."""
    found, parents = [pid], living()
    for each in found:  # which grows meanwhile
        found += [number for number, parent in parents.items() if parent == each]
    return set(found)


def living() -> dict[int, int]:
    """Return the number of each process that has not ended, with that of its parent."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):  # it may end meanwhile
            state, parent, *_ = stat_of(int(entry.name))
            if state not in "ZX":
                found[int(entry.name)] = int(parent)
    return found
