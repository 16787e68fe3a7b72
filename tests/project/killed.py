"""Kills real processes after the commit, and shows the rows that are left.

    python -m tests.project.killed

It takes some fifteen seconds, and writes its part of docs/life-of-a-delivery.md; a test does the
same, and compares.
"""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import floor
from pathlib import Path
from tempfile import TemporaryDirectory

from aftercommit_tests.processes import stat_of, wait_until

from tests.project.generated import LIFE, write_run
from tests.project.processes import Application

LEASE, TIMEOUT = 6.0, 3.0  # an e-mail begins within the difference, and ends within the second
WORK = ("worker", "--until-idle")
ROWS = "SELECT handler, attempts, token, available_at FROM aftercommit_deliveries ORDER BY handler"


@dataclass(frozen=True)
class Moment:
    """What was found in the database at some time, and how many e-mails in the folder."""

    what: str
    time: float
    rows: Sequence[tuple[str, int, int, float | None]]  # the last: None when done
    emails: int


def story(folder: Path) -> Iterator[Moment]:
    """Register a user, kill whoever works, twice, and yield what there is after each step."""
    settings = {"lease_seconds": str(LEASE), "handler_timeout_seconds": str(TIMEOUT)}
    application = Application(folder, settings=settings)
    with _stepping(application, "register-user", "Иван", "ivan@example.com") as process:
        yield _after_step(application, process, "`register-user` is killed after its commit")
    with _stepping(application, *WORK) as process:
        yield _after_step(application, process, "the lease has expired: a worker has claimed")
        process.send_signal(signal.SIGCONT)
        yield _after_step(
            application, process, "the worker has done three; it is killed after the e-mail"
        )
    with _stepping(application, *WORK) as process:
        yield _after_step(application, process, "the lease has expired: the next has claimed")
        process.send_signal(signal.SIGCONT)
        _wait_for_step(process)
        process.send_signal(signal.SIGCONT)
        assert process.wait() == 0
    yield _found(application, "the same e-mail again: it replaces its file; done")


def _stepping(
    application: Application, *arguments: str
) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Run a command that stops after each step, and is killed at the end of the context."""
    return application.running(*arguments, module=["tests.project.stopping"])


def _after_step(application: Application, process: "subprocess.Popen[str]", what: str) -> Moment:
    _wait_for_step(process)
    return _found(application, what)


def _wait_for_step(process: "subprocess.Popen[str]") -> None:
    wait_until(lambda: stat_of(process.pid)[0] in "TZ")
    assert process.poll() is None, "it has ended before this step"


def _found(application: Application, what: str) -> Moment:
    emails = (application.folder / "allocation-mail").glob("new/*")
    return Moment(what, time.time(), application.rows(ROWS), len(list(emails)))


def table(moments: Sequence[Moment]) -> Iterator[str]:
    """Yield the table of what changed. Times: leases since they were written, rounded down."""
    start = (moments[0].rows[0][-1] or 0) - LEASE
    yield "| t | what has happened | `handler` | `attempts` | `token` | `available_at` | e-mails |"
    yield "|---|---|---|---|---|---|---|"
    shown: set[tuple[str, int, int, float | None]] = set()
    for moment in moments:
        what = f"| {floor((moment.time - start) / LEASE)} | {moment.what} |"
        for row in (row for row in moment.rows if row not in shown):
            shown.add(row)
            handler, attempts, token, available_at = row
            due = "done" if available_at is None else floor((available_at - start) / LEASE)
            yield f"{what} `{handler}` | {attempts} | {token} | {due} | {moment.emails} |"
            what = "| | |"


if __name__ == "__main__":
    with TemporaryDirectory(prefix="allocation-killed-") as folder:
        write_run("killed", table(list(story(Path(folder)))), LIFE)
