"""Signals end a process, whatever its handlers do to it, and on whatever system."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from aftercommit_tests.processes import (
    LIMIT_SECONDS,
    Installation,
    wait_for_line,
    wait_until,
    writing_to,
)

pytestmark = pytest.mark.check

MAKE = ("make-thing", "lamp")
FAILED = "SELECT handler, last_error FROM aftercommit_deliveries WHERE last_error > ''"


@contextmanager
def hanging_worker(
    installation: Installation, handler: str, *, grace: str = "0.1", stderr: int = subprocess.PIPE
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker until this handler hangs in it."""
    module = ("aftercommit_tests.hanging", handler)
    installation.succeed(*MAKE, module=module, dispatch="worker")
    settings = {"shutdown_grace_seconds": grace}
    with writing_to(
        installation, "worker", module=module, stdout=subprocess.PIPE, stderr=stderr, **settings
    ) as worker:
        assert worker.stdout is not None
        assert b"hanging" in worker.stdout.readline()
        yield worker


@pytest.fixture
def own_temporary_folder(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(installation.folder))


@pytest.mark.parametrize(
    ("handler", "where"),
    [("block", "hanging.py"), ("block_in_a_thread", "thread"), ("swallow", "MainThread")],
)
def test_the_grace_period_ends_what_cannot_be_cancelled(
    installation: Installation, handler: str, where: str
) -> None:
    """Anyone who deploys waits for no handler; the log says where it hung, and the lease ends."""
    with hanging_worker(installation, handler) as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 70
        assert worker.stderr is not None
        log = worker.stderr.read().decode()

    assert "did not end in its grace period" in log
    assert where in log.splitlines()[-1]
    assert installation.count(f"aftercommit_deliveries WHERE handler = '{handler}'") == 1


@pytest.mark.usefixtures("own_temporary_folder")
@pytest.mark.parametrize(("handler", "code"), [("block", 70), ("hold_the_log", 1), ("wait", 0)])
def test_a_full_pipe_does_not_keep_a_process_that_hangs(
    installation: Installation, handler: str, code: int, full_pipe: int
) -> None:
    """Nobody reads where it hung, and it ends; only what holds the log, too, leaves a file."""
    with hanging_worker(installation, handler, stderr=full_pipe) as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == code

    stacks = [file.read_text() for file in installation.folder.glob("things-stacks-*")]
    assert ["in hold_the_log" in each for each in stacks] == [True] * (code == 1)


@pytest.mark.parametrize("handler", ["block", "swallow"])
def test_a_second_signal_ends_even_a_blocked_event_loop(
    installation: Installation, handler: str
) -> None:
    """Anyone who insists does not have to wait."""
    with hanging_worker(installation, handler, grace="1000") as worker:

        def ended_by_another_signal() -> bool:
            worker.send_signal(signal.SIGTERM)  # one that comes at once is the same one
            return worker.poll() is not None

        wait_until(ended_by_another_signal)
        assert worker.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("handler", ["wait", "wait_deaf"])
def test_a_worker_ends_tidily_where_event_loops_have_no_signal_handlers(
    installation: Installation, handler: str
) -> None:
    """Windows has none; and elsewhere, a handler of somebody else must not make ours deaf."""
    with hanging_worker(installation, handler) as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 0


def test_a_handler_that_exits_in_a_child_task_has_failed(installation: Installation) -> None:
    """Asyncio lets any task end the process, but not as if all were well; the attempt counts."""
    handler = "exit_in_a_child"
    with hanging_worker(installation, handler) as worker:
        wait_until(lambda: handler in dict(installation.rows(FAILED)))
        if installation.backend == "asyncio":
            assert worker.wait(LIMIT_SECONDS) == 70

    failed = dict(installation.rows(FAILED))  # another one may have been cancelled by asyncio
    assert failed[handler].startswith("HandlerInterrupted: exit_in_a_child raised SystemExit")


def test_an_interrupted_command_says_how_to_repeat_it(installation: Installation) -> None:
    """The id was made by the program; the exit code is that of a shell."""
    module = ("aftercommit_tests.hanging", "wait")
    with installation.running(*MAKE, module=module) as making:
        wait_for_line(making.stdout, "hanging")
        making.send_signal(signal.SIGINT)
        _, said = making.communicate(timeout=LIMIT_SECONDS)

    assert making.returncode == 130
    [(thing_id,)] = installation.rows("SELECT id FROM things")
    assert said == f"interrupted; repeat it with --thing-id {UUID(thing_id)}\n"
