"""A project made with the last release takes the next version: other wheels, and `db upgrade`.

The next version is what is here, with one migration, one column and one renamed handler more.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import ClassVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from zipfile import ZipFile

import pytest

from aftercommit_tests.conftest import DATABASES
from aftercommit_tests.environments import (
    PACKAGES,
    build_wheels,
    last_release,
    made_once,
    make_environment,
    run,
    upgrade,
)
from aftercommit_tests.inside.stored import ENGINE
from aftercommit_tests.processes import Installation, a_free_port, asked, owed, stop, wait_until

pytestmark = pytest.mark.check

MIGRATION = f'''"""Deliveries have weights: a revision that only tests have."""

import sqlalchemy as sa
from alembic import op

revision = "aftercommit_9000"
down_revision = "{ENGINE.newest}"


def upgrade() -> None:
    op.add_column("aftercommit_deliveries", sa.Column("weight", sa.Integer, server_default="1"))
'''
NEXT = "9.0.0"
COLUMN = 'deliveries.append_column(sa.Column("weight", sa.Integer, server_default="1"))'
RENAMED = "    renamed={'count_order': 'count_placed_order'},\n"
ORDER = json.dumps({"email": "anna@example.com", "articles": {"chair": 4}}).encode()


@dataclass
class Project(Installation):
    """A project with a version of the engine, in an environment of its own."""

    programs: Path = Path()
    name: ClassVar[str] = "kiosk"

    @property
    def emails(self) -> int:
        """Return how many have been sent."""
        return len([*self.folder.glob("kiosk-mail/new/*")])

    def environment(self, **settings: str) -> dict[str, str]:
        mail = {"mail_url": f"maildir:{self.folder}/kiosk-mail"}
        return super().environment(**mail | settings) | {"PYTHONPATH": ""}

    def start(
        self,
        *arguments: str,
        module: Iterable[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(self.programs / "kiosk"), *arguments],
            cwd=self.folder,
            env=environment or self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def programs(shared_folder: Path) -> list[Path]:
    """The programs of a project as the last release has made it, and those of its next version."""
    made = partial(make_programs, last_release(shared_folder))
    folder = made_once(shared_folder / "next_version", made)
    return [folder / name / "bin" for name in ("old", "new")]


def make_programs(released: Sequence[Path], folder: Path) -> None:
    """Make a project with these wheels, and install it twice; then upgrade one of the two."""
    for wheel in released:
        ZipFile(wheel).extractall(folder / "released")
    making = os.environ | {"PYTHONPATH": str(folder / "released")}
    new = (sys.executable, "-m", "aftercommit", "new", str(folder / "kiosk"), "--http")
    run(*new, environment=making)
    [project] = build_wheels(folder / "dist", folder / "kiosk")
    next_ones = build_wheels(folder / "next", *next_version(folder))
    for name in ("old", "new"):
        make_environment(folder / name, [*released, project], wanted="kiosk")
    upgrade(folder / "new" / "bin", next_ones, "aftercommit", "kiosk")


def next_version(folder: Path) -> list[Path]:
    """Copy the packages, with one migration and one column more; and rename a handler of kiosk."""
    no_tests = shutil.ignore_patterns("tests")
    packages = [shutil.copytree(each, folder / each.name, ignore=no_tests) for each in PACKAGES]
    deliveries = folder / "aftercommit" / "src" / "aftercommit" / "deliveries"
    (deliveries / "migrations" / "aftercommit_9000_weights.py").write_text(MIGRATION)
    with (deliveries / "tables.py").open("a") as tables:
        tables.write(f"{COLUMN}\n")
    handlers = folder / "kiosk" / "src" / "kiosk" / "service_layer" / "handlers.py"
    text = handlers.read_text().replace("count_order", "count_placed_order")
    handlers.write_text(f"{text.removesuffix(')' + chr(10))}{RENAMED})\n")
    for each in (folder / "aftercommit", folder / "kiosk"):
        file = each / "pyproject.toml"
        file.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{NEXT}"', file.read_text()))
    return [*packages, folder / "kiosk"]


@pytest.fixture(params=DATABASES)
def versions(request: pytest.FixtureRequest, programs: list[Path], tmp_path: Path) -> list[Project]:
    """The two versions of a project, on one database of each kind."""
    is_file = request.param == "sqlite"
    url = None if is_file else str(request.getfixturevalue("empty_postgres_url"))
    return [Project(tmp_path, url, programs=each) for each in programs]


def test_it_takes_the_next_version_with_all_that_is_outstanding(versions: list[Project]) -> None:
    """What old processes have left is done by new ones, and old ones that run go on meanwhile."""
    old, new = versions
    old.succeed("db", "upgrade")
    failing = old.folder / "failing"
    failing.mkdir()
    (failing / "tmp").symlink_to("/proc")  # where no file can be made, by nobody
    no_mail = {"mail_url": f"maildir:{failing}", "max_attempts": "1"}
    old.succeed("place-order", "ivan@example.com", "lamp", **no_mail)
    old.succeed("place-order", "olga@example.com", "lamp", dispatch="worker")
    assert "2 due" in old.succeed("check")
    assert 'run "kiosk db upgrade"' in new.run("worker").stderr

    port = a_free_port()
    with old.running("serve", "--port", str(port), dispatch="worker") as server:
        wait_until(lambda: asked(port, "/readyz")[0] == 200)
        assert "aftercommit_9000" in new.succeed("db", "upgrade")

        refused = old.run("worker", "--until-idle")
        assert refused.returncode == 3
        assert "(revision aftercommit_9000) is not known to this version" in refused.stderr
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"http://127.0.0.1:{port}/orders", ORDER, headers)) as placed:
            assert placed.status == 201
        new.succeed("worker", "--until-idle")
        assert asked(port, "/readyz")[0] == 200
        assert stop(server) == 0

    assert "3 placed" in new.succeed("orders")
    assert old.emails == 2
    assert "0 due; 1 parked" in new.succeed("check")
    new.succeed("deliveries", "retry", "--all-parked")
    old.change("UPDATE aftercommit_deliveries SET available_at = 0 WHERE completed_at IS NULL")
    new.succeed("worker", "--until-idle")
    assert old.emails == 6, "and three of them ask how it was"


def test_traffic_goes_on_while_the_tables_are_upgraded_and_processes_replaced(
    versions: list[Project],
) -> None:
    """Orders come in all the time: each is accepted, stored once, and confirmed."""
    old, new = versions
    old.succeed("db", "upgrade")
    with at_work(old) as (old_port, old_processes):
        with ordering(old_port) as accepted:
            wait_until(lambda: len(accepted) > 5)
            assert "aftercommit_9000" in new.succeed("db", "upgrade")
            after_it = len(accepted)
            wait_until(lambda: len(accepted) > after_it + 5 and old.emails > after_it)

        with at_work(new) as (new_port, new_processes):
            with ordering(new_port) as with_both:
                wait_until(lambda: len(with_both) > 5)
                assert [*map(stop, old_processes)] == [0, 0]
                without_old = len(with_both)
                wait_until(lambda: len(with_both) > without_old + 5)
            wait_until(lambda: not due(new))
            assert [*map(stop, new_processes)] == [0, 0]

    assert {*accepted, *with_both} == {201}
    orders = len(accepted) + len(with_both)
    assert f"{orders} placed" in new.succeed("orders")
    assert old.emails >= orders, "and more only if a lease ended meanwhile"


@contextmanager
def at_work(project: Project) -> Iterator[tuple[int, list[subprocess.Popen[str]]]]:
    """Let a worker and a server work; yield the port, when the server is ready, and both."""
    port = a_free_port()
    serve = project.running("serve", "--port", str(port), dispatch="worker")
    with project.running("worker") as worker, serve as server:
        wait_until(lambda: asked(port, "/readyz")[0] == 200)
        yield port, [worker, server]


@contextmanager
def ordering(port: int) -> Iterator[list[int]]:
    """Place one order after the other, at most 2,000, and collect the answers."""
    answers, enough = list[int](), Event()

    def order() -> None:
        headers = {"Content-Type": "application/json"}
        while not enough.is_set() and len(answers) < 2_000:
            try:
                with urlopen(Request(f"http://127.0.0.1:{port}/orders", ORDER, headers)) as placed:
                    answers.append(placed.status)
            except HTTPError as refused:
                with refused:
                    answers.append(refused.code)

    client = Thread(target=order)
    client.start()
    try:
        yield answers
    finally:
        enough.set()
        client.join()


def due(project: Project) -> list[tuple[str, int]]:
    """Return what is not done, but for what is due in a week."""
    return [each for each in owed(project) if not each[0].startswith("ask_")]


def test_an_old_worker_does_what_new_processes_leave(versions: list[Project]) -> None:
    """Until it is replaced; but for the handler that only the new version knows by this name."""
    old, new = versions
    old.succeed("db", "upgrade")
    with old.running("worker") as worker:
        for each in versions:
            each.succeed("db", "upgrade")
            each.succeed("place-order", "ivan@example.com", "lamp", dispatch="worker")
        wait_until(lambda: owed(old) == [("count_placed_order", 0)])
        assert stop(worker) == 0
    new.succeed("worker", "--until-idle")

    assert (old.emails, owed(new)) == (2, [])
    assert "2 placed" in new.succeed("orders")
