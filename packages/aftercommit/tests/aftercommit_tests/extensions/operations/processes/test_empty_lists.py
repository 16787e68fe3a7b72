"""An empty list tells a person that it is empty, and a program nothing."""

import pytest

from aftercommit_tests.processes import LIMIT_SECONDS, Installation, on_terminal

pytestmark = [pytest.mark.on("trio"), pytest.mark.check]

LISTS = {
    ("deliveries", "list", "--parked"): "no deliveries; --scheduled lists delayed ones",
    ("deliveries", "pauses"): 'nothing is paused; "deliveries pause" holds',
    ("deliveries", "decisions"): "no decisions; who pauses, retries,",
    ("history",): "no commands, and no events that an Outbox has recorded",
}


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_an_empty_list_says_so_on_a_terminal_only(
    command: tuple[str, ...], installation: Installation
) -> None:
    """What reads a pipe would take the sentence for a row."""
    with on_terminal(installation, *command) as (process, pieces):
        shown = b"".join(pieces)
        _, errors = process.communicate(timeout=LIMIT_SECONDS)

    assert (process.returncode, shown) == (0, b"")
    assert errors.decode().startswith(LISTS[command])
    piped = installation.run(*command)
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, "", "")
