"""Scripts without an event loop: killed in a handler, forked, and left while a handler sleeps."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import Order
from aftercommit_tests.processes import started
from aftercommit_tests.warm import SOURCES

pytestmark = pytest.mark.check

LIMIT_SECONDS = 240
MODULE = "aftercommit_tests.outbox.processes.synchronous"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Any:
    """What starts a process with the database."""
    processes = list[subprocess.Popen[str]]()

    def start(*command: str, **settings: str) -> "subprocess.Popen[str]":
        own = {"SHOP_DATABASE_URL": database_url, "PYTHONPATH": SOURCES, **settings}
        environment = os.environ | own
        process = started(*command, folder=tmp_path, environment=environment, stdin=subprocess.PIPE)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LIMIT_SECONDS)
    return process.returncode, out, err


def rows(url: str, *columns: Any) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(sa.select(*columns))]
    engine.dispose()
    return found


@pytest.mark.parametrize("how", ["leaves_it", "forgets_to_leave_it", "leaves_it_at_exit"])
def test_a_script_ends_when_its_main_thread_does(start: Start, database_url: str, how: str) -> None:
    """Also if nobody leaves the context: Python waits for the threads of a driver before that."""
    code, out, err = ended(start(MODULE, how))

    assert (code, out) == (0, "the end\n"), err
    assert rows(database_url, Order.reserved) == [(1,)]


def test_a_kill_in_a_handler_leaves_nothing_half_done(start: Start, database_url: str) -> None:
    """What its thread has done so far is rolled back; the delivery is done when its lease ends."""
    code, out, err = ended(start(MODULE, "dies"))
    assert code == -signal.SIGKILL, out + err
    assert rows(database_url, Order.reserved) == [(0,)]
    engine = sa.create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sa.update(tables.deliveries).values(available_at=0))
    engine.dispose()

    code, out, err = ended(start(MODULE, "goes_on"))

    assert code == 0, out + err
    assert rows(database_url, Order.reserved) == [(1,)]
    assert sorted(rows(database_url, tables.deliveries.c.attempts)) in ([(1,), (2,)], [(2,), (2,)])


@pytest.mark.parametrize("how", ["script", "worker"])
def test_a_handler_that_sleeps_does_not_hold_up_the_end(
    start: Start, database_url: str, how: str
) -> None:
    """Its thread is left behind, what it has done is rolled back, and the exit code is 0."""
    short = {"SHOP_SHUTDOWN_GRACE_SECONDS": "0.2"}
    process = start(MODULE, "sleeps", **short)
    assert process.stdout
    assert process.stdout.readline() == "sleeps\n"
    if how == "worker":
        process.kill()
        process.communicate()
        engine = sa.create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            connection.execute(sa.update(tables.deliveries).values(available_at=0))
        engine.dispose()
        process = start("aftercommit", "worker", f"{MODULE}:outbox", **short, SLEEPS="sleeps")
        assert process.stdout
        assert process.stdout.readline() == "sleeps\n"
        process.terminate()

    code, out, err = ended(process)

    assert code == 0, out + err
    assert "goes on in its thread" in err or how == "script"
    assert rows(database_url, Order.reserved) == [(0,)]
    assert rows(database_url, tables.deliveries.c.completed_at) == [(None,), (None,)]


@pytest.mark.on("sqlite")
@pytest.mark.parametrize("how", ["forks_on_sqlite", "forks_on_sqlite_beside_a_loop"])
def test_a_child_that_is_forked_beside_sqlite_is_told_what_to_do(start: Start, how: str) -> None:
    """SQLite's locks are those of a process: the child would take its parent's for its own."""
    code, out, err = ended(start(MODULE, how))

    assert code == 0, out + err
    assert out.count("Call `running_sync` after the fork") == 4


@pytest.mark.on("postgres")
def test_a_child_that_is_forked_has_a_worker_of_its_own(start: Start, database_url: str) -> None:
    """As after `gunicorn --preload`: from its first commit on, until it leaves the context."""
    code, out, err = ended(start(MODULE, "forks"))

    assert code == 0, out + err
    assert out.count("the end") == 2
    assert set(rows(database_url, Order.reserved)) == {(1,)}


@pytest.mark.on("postgres")
def test_a_child_that_leaves_just_after_its_first_commit_ends(start: Start) -> None:
    """Its worker has hardly begun."""
    code, out, err = ended(start(MODULE, "forks_and_leaves"))

    assert code == 0, out + err
    assert out.count("the end") == 2
