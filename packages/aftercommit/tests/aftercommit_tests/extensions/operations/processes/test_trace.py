"""What happened to a command, in real processes that fail and die, is read from its trace."""

import json
import re
import signal

import pytest

from aftercommit_tests import processes
from aftercommit_tests.processes import LIMIT_SECONDS, Installation, on_terminal, wait_until

pytestmark = [pytest.mark.on("trio"), pytest.mark.check]

MAKE = ("make-thing", "lamp")


@pytest.fixture
def impatient(installation: Installation) -> Installation:
    """An installation that tries again soon and often, and whose bell is down."""
    settings = {"retry_initial_seconds": "0.1", "retry_factor": "1", "max_attempts": "1000"}
    installation.settings = {**settings, "lease_seconds": "900", "bell_file": "away/bell.txt"}
    return installation


def test_a_killed_and_failing_command_can_be_read_from_its_trace(impatient: Installation) -> None:
    """Which attempt, when, in which process, which error: nobody has to look into the database."""
    impatient.crash("before the fan-out", *MAKE, instance_name="worker-1")
    work, follow = ("worker", "--until-idle"), ("trace", "lamp", "--follow")
    with impatient.running(*follow) as reading, impatient.running(*follow, "--json") as following:
        assert reading.stdout is not None
        assert following.stdout is not None
        read, followed = [reading.stdout.readline()], [following.stdout.readline()]
        impatient.end_leases()
        impatient.change(
            "UPDATE aftercommit_deliveries SET completed_at = 0 WHERE handler = 'forget'"
        )
        with impatient.running(*work, instance_name="worker-2") as worker:
            wait_until(lambda: impatient.count("aftercommit_failures WHERE attempt = 2"))
            (impatient.folder / "away").mkdir()
            assert worker.wait(LIMIT_SECONDS) == 0
        read += reading.stdout.readlines()
        followed += following.stdout.readlines()
        assert (reading.wait(LIMIT_SECONDS), following.wait(LIMIT_SECONDS)) == (0, 0)

    text = impatient.succeed("trace", "lamp")
    when, took = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ", r"[\d.]+ m?s"
    for pattern in (
        rf"make_thing  cli, {when}",
        rf"write_down +done in {took}, attempt 2, token 2, by worker-2\n",
        rf"announce +done in {took}, attempt \d+, token \d+, by worker-2\n",
        rf"· attempt 1 failed {when}, token 1, by worker-1: it had not finished when its lease",
        rf"· attempt 2 failed {when}, token 2, by worker-2: BellIsAway: no bell in away\n",
    ):
        assert re.search(pattern, text), (pattern, text)
    first, *others = "".join(read).split("\n\n")  # the tree again, each time it has changed
    assert re.search(r"write_down +running, attempt 1, lease ends in ", first)
    assert others[-1] == text
    assert len({*followed}) == len(followed)  # nothing but what is new, or has changed
    states = {node["id"]: node["state"] for node in map(json.loads, followed)}
    assert set(states.values()) == {"done"}
    nodes = map(json.loads, impatient.succeed("trace", "lamp", "--json").splitlines())
    assert states.keys() == {node["id"] for node in nodes}


def test_a_trace_on_a_terminal_is_redrawn_until_ctrl_c(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130, without a word; the terminal shows its cursor again.

    One that is too low sees the beginning of the tree, and all of it at last.
    """
    monkeypatch.setitem(processes.TERMINAL, "LINES", "3")
    installation.crash("before the fan-out", *MAKE)
    shown = b""
    with on_terminal(installation, "trace", "lamp", "--follow") as (process, pieces):
        while b"\x1b[1A" not in shown:  # the tree has been drawn a second time
            shown += next(pieces)
        assert b"write_down" not in shown
        process.send_signal(signal.SIGINT)
        shown += b"".join(pieces)
        _, errors = process.communicate(timeout=LIMIT_SECONDS)

    assert (process.returncode, errors) == (130, b"")
    assert "── write_down".encode() in re.sub(rb"\x1b\[\d*m", b"", shown)
    assert b"\x1b[?25h" in shown.rpartition(b"\x1b[?25l")[2]
