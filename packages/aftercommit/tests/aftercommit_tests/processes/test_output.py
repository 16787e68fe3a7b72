"""Anyone who does not read what a process prints holds up neither its work nor its end."""

import fcntl
import json
import signal
import struct
import subprocess
import termios

import pytest

from aftercommit_tests.processes import LIMIT_SECONDS, Installation, owed, wait_until, writing_to

pytestmark = pytest.mark.check

MAKE = ("make-thing", "lamp")
LIST = ("deliveries", "list", "--json")
FULL = 60_000  # of 65,536 bytes, less a line
REASON = "[Errno 28] No space left on device"
MANY = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
INSERT INTO aftercommit_deliveries
    (event_id, handler, attempts, token, available_at, schema_version)
SELECT event_id, 'handler' || n, 0, 0, 0, 1 FROM aftercommit_deliveries, numbers
WHERE handler = 'announce'
"""


def waiting_in(process: "subprocess.Popen[bytes]") -> int:
    """Return how many bytes of its output wait to be read."""
    assert process.stdout is not None
    answer = fcntl.ioctl(process.stdout, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


@pytest.fixture
def many(installation: Installation) -> Installation:
    """An installation with a list that is longer than a pipe."""
    installation.succeed(*MAKE, dispatch="worker")
    installation.change(MANY)
    return installation


@pytest.mark.on("trio")
def test_a_worker_works_and_ends_though_nobody_reads_it(
    installation: Installation, full_pipe: int
) -> None:
    """A terminal stopped by Ctrl-S must not keep the work of others from being done."""
    installation.succeed("db", "upgrade")
    with writing_to(installation, "worker", stdout=full_pipe, stderr=full_pipe) as worker:
        for n in range(3):
            installation.succeed("make-thing", f"lamp{n}", dispatch="worker")
        wait_until(lambda: not owed(installation))

        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 0


@pytest.mark.on("asyncio")
@pytest.mark.parametrize("command", [MAKE, ("db", "upgrade")], ids=" ".join)
def test_a_command_ends_though_nobody_reads_it(
    installation: Installation, command: tuple[str, ...], full_pipe: int
) -> None:
    """What is done is done, and the exit code says so."""
    with writing_to(installation, *command, stdout=full_pipe, stderr=full_pipe) as process:
        assert process.wait(LIMIT_SECONDS) == 0

    assert installation.lines == ["lamp"] * (command == MAKE)


@pytest.mark.on("trio")
def test_a_list_is_whole_for_a_reader_who_takes_his_time(many: Installation) -> None:
    """`| less`: a list that somebody asked for waits for him."""
    with writing_to(many, *LIST, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        wait_until(lambda: waiting_in(listing) > FULL)
        listed, errors = listing.communicate(timeout=LIMIT_SECONDS)

    assert (listing.returncode, errors) == (0, b"")
    handlers = {json.loads(line)["handler"] for line in listed.splitlines()}
    assert handlers >= {f"handler{n}" for n in range(1, 1001)}


@pytest.mark.on("trio")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_list_that_nobody_reads_can_be_ended(
    many: Installation, number: signal.Signals, code: int
) -> None:
    """It waits, but not forever."""
    with writing_to(many, *LIST, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        wait_until(lambda: waiting_in(listing) > FULL)
        listing.send_signal(number)
        assert listing.wait(LIMIT_SECONDS) == code


@pytest.mark.on("asyncio")
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (MAKE, 0, "the output could not be written"),
        (("asyncapi",), 3, "error"),
        (("--help",), 3, "error"),
    ],
    ids=["work", "list", "help"],
)
@pytest.mark.parametrize("both", [False, True], ids=["output", "errors, too"])
def test_a_full_disk_is_reported_and_does_not_undo_the_work(
    installation: Installation, command: tuple[str, ...], code: int, words: str, both: bool
) -> None:
    """The thing is made; a list that could not be written was not."""
    with open("/dev/full", "w") as full:
        errors = full.fileno() if both else subprocess.PIPE
        with writing_to(installation, *command, stdout=full.fileno(), stderr=errors) as process:
            _, complaint = process.communicate(timeout=LIMIT_SECONDS)

    assert process.returncode == code
    assert (complaint or b"").decode() == ("" if both else f"{words}: {REASON}\n")


@pytest.mark.on("trio")
def test_a_list_for_a_closed_output_fails(installation: Installation) -> None:
    """A script that asked for a list and got none must not go on as if nothing were there."""
    installation.succeed("db", "upgrade")

    listing = installation.shell("python -m aftercommit_tests.things deliveries list >&-")

    assert listing.returncode == 3
    assert listing.stderr == "error: [Errno 9] standard output is closed\n"
