"""Signals end a process, whatever its handlers do to it, and on whatever system."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine

from tests import things
from tests.e2e.processes import LIMIT_SECONDS, TIMEOUT_SECONDS, Application, wait_until, writing_to

REGISTER_USER = ("register-user", "Иван", "ivan@example.com")


@contextmanager
def hanging_worker(
    application: Application, handler: str, *, grace: str = "0.1", stderr: int = subprocess.PIPE
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker until this handler hangs in it."""
    module = ("tests.e2e.hanging", handler)
    assert application.run("db", "upgrade").returncode == 0
    things.tables.create_all(engine := create_engine(f"sqlite:///{application.database}"))
    engine.dispose()
    with application.running("make-thing", module=module, dispatch="worker") as making:
        assert making.wait(TIMEOUT_SECONDS) == 0
    settings = {"shutdown_grace_seconds": grace}
    with writing_to(
        application, "worker", module=module, stdout=subprocess.PIPE, stderr=stderr, **settings
    ) as worker:
        until_hanging(worker)
        yield worker


def until_hanging(process: "subprocess.Popen[Any]") -> None:
    assert process.stdout is not None
    while "hanging" not in str(process.stdout.readline()):
        assert process.poll() is None


@pytest.mark.parametrize(
    ("handler", "where"),
    [("block", "hanging.py"), ("block_in_a_thread", "thread"), ("swallow", "MainThread")],
)
def test_the_grace_period_ends_what_cannot_be_cancelled(
    application: Application, handler: str, where: str
) -> None:
    """Whoever deploys waits for no handler; the log says where it hung, and the lease ends."""
    with hanging_worker(application, handler) as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 70
        assert worker.stderr is not None
        log = worker.stderr.read().decode()

    assert "did not end in its grace period" in log
    assert where in log.splitlines()[-1]
    assert application.rows(
        f"SELECT attempts FROM aftercommit_deliveries WHERE handler = '{handler}'"
    )


@pytest.mark.parametrize("handler", ["block", "hold_the_log"])
def test_a_full_pipe_does_not_keep_a_process_that_hangs(
    application: Application,
    handler: str,
    full_pipe: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody reads where it hung, and it ends; what holds the log, too, is found in a file."""
    monkeypatch.setenv("TMPDIR", str(application.folder))
    with hanging_worker(application, handler, stderr=full_pipe) as worker:
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(LIMIT_SECONDS)

    stacks = [file.read_text() for file in application.folder.glob("allocation-stacks-*")]
    if handler == "block":
        assert (code, stacks) == (70, [])
    else:
        assert code == 1
        assert "in hold_the_log" in stacks[0]


def test_a_process_that_ends_tidily_leaves_no_file(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is for the stacks of a process that hangs."""
    monkeypatch.setenv("TMPDIR", str(application.folder))
    with hanging_worker(application, "wait") as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 0

    assert not list(application.folder.glob("allocation-stacks-*"))


@pytest.mark.parametrize("handler", ["block", "swallow"])
def test_a_second_signal_ends_even_a_blocked_event_loop(
    application: Application, handler: str
) -> None:
    """Whoever insists does not have to wait."""
    with hanging_worker(application, handler, grace="1000") as worker:

        def ended_by_another_signal() -> bool:
            worker.send_signal(signal.SIGTERM)  # one that comes at once is the same one
            return worker.poll() is not None

        wait_until(ended_by_another_signal)
        assert worker.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("handler", ["wait", "wait_deaf"])
def test_a_worker_ends_tidily_where_event_loops_have_no_signal_handlers(
    application: Application, handler: str
) -> None:
    """Windows has none; and elsewhere, a handler of somebody else must not make ours deaf."""
    with hanging_worker(application, handler) as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 0


def test_a_handler_that_exits_in_a_child_task_has_failed(application: Application) -> None:
    """Asyncio lets any task end the process, but not as if all were well; the attempt counts."""
    with hanging_worker(application, "exit_in_a_child") as worker:
        wait_until(
            lambda: application.rows("SELECT 1 FROM aftercommit_deliveries WHERE last_error > ''")
        )
        if application.backend == "asyncio":
            assert worker.wait(LIMIT_SECONDS) == 70

    ((handler, error),) = application.rows(
        "SELECT handler, last_error FROM aftercommit_deliveries WHERE last_error > ''"
    )
    assert (handler, error.partition(":")[0]) == ("exit_in_a_child", "HandlerInterrupted")


def test_an_interrupted_registration_says_how_to_ask_again(application: Application) -> None:
    """The id was made by the program, and is needed to repeat the command."""
    with application.running(*REGISTER_USER, module=("tests.e2e.hanging", "wait")) as process:
        until_hanging(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_SECONDS) == 130
        assert process.stderr is not None
        said = process.stderr.read()

    [(user_id,)] = application.rows("SELECT id FROM users")
    assert f"--user-id {UUID(user_id)}\n" in said
    assert "Traceback" not in said
