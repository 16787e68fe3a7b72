"""README's experiment by itself: a process is killed right after its COMMIT, and a worker goes on.

    make kill

It works in a temporary folder, and only reads there what it prints. The lease is three seconds
instead of thirty, so that nobody has to wait.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
SETTINGS = {"ALLOCATION_LEASE_SECONDS": "3", "ALLOCATION_HANDLER_TIMEOUT_SECONDS": "2.5"}
ADDRESS = "anna@example.com"
LEFT = """
SELECT handler, attempts, owner FROM aftercommit_deliveries
WHERE completed_at IS NULL ORDER BY handler
"""
LIMIT_SECONDS = 120


def kill_it(folder: Path) -> bool:
    """Kill a registration at its worst moment, let a worker go on; return whether all is there."""
    say(f"allocation register-user Анна {ADDRESS}")
    with started(folder, "playground.stop_after_commit", "register-user", "Анна", ADDRESS) as it:
        _, status = os.waitpid(it.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            it.returncode = os.waitstatus_to_exitcode(status)
            raise SystemExit(f"error: the registration has ended with exit code {it.returncode}")
        it.kill()
    say("SIGKILL right after the COMMIT: no handler has run. What is left of them:")
    for handler, attempts, owner in rows(folder, LEFT):
        process = "the dead process" if owner.endswith(f":{it.pid}") else owner
        say(f"  {handler:24} claimed by {process}, attempt {attempts}, not done")
    say("allocation worker: it waits until the lease of the dead process ends")
    with started(folder, "allocation", "--log-level", "error", "worker", "--until-idle") as worker:
        worker.wait(LIMIT_SECONDS)
    [(users,)] = rows(folder, f"SELECT count(*) FROM users WHERE email = '{ADDRESS}'")
    emails = len([*(folder / "allocation-mail" / "new").iterdir()])
    left = len(rows(folder, LEFT))
    lost = f"{left} deliveries are not done" if left else "nothing lost"
    say(f"killed at the worst moment: {users} user, {emails} e-mail, {lost}")
    return (users, emails, left) == (1, 1, 0)


def started(folder: Path, *module: str) -> "subprocess.Popen[bytes]":
    """Start a module in the folder, with its own settings only."""
    outside = {name: v for name, v in os.environ.items() if not name.startswith("ALLOCATION_")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = outside | SETTINGS | {"PYTHONPATH": path}
    command = [sys.executable, "-m", *module]
    return subprocess.Popen(command, cwd=folder, env=variables, stdin=subprocess.DEVNULL)


def rows(folder: Path, statement: str) -> list[Any]:
    """Query the database file."""
    with closing(sqlite3.connect(folder / "allocation.db")) as connection:
        return connection.execute(statement).fetchall()


def say(line: str) -> None:
    """Print a line before the next process prints."""
    print(line, flush=True)  # noqa: T201 for the terminal


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and clean up
    with TemporaryDirectory(prefix="allocation-kill-") as temporary:
        sys.exit(0 if kill_it(Path(temporary)) else 1)
