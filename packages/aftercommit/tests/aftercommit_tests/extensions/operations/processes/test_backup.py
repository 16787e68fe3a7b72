"""Back up while everybody works, restore, and outstanding work is done, as operations.md says."""

import re
import shlex
import shutil

import pytest

from aftercommit_tests.processes import Installation, owed, wait_until
from aftercommit_tests.warm import ROOT

pytestmark = [pytest.mark.on("asyncio"), pytest.mark.check]

PAGE = (ROOT / "docs" / "operations.md").read_text()
SECTION = PAGE.partition("## Back up and restore")[2].partition("\n## ")[0]
OF_A_FILE, INTO_A_FILE, OF_A_SERVER, INTO_A_SERVER, AFTER = (
    re.findall(r"^\$ (?!allocation rebuild-users)(.*)", block, re.MULTILINE)
    for block in re.findall(r"```console\n(.*?)```", SECTION, re.DOTALL)
)
BACKUPS = {
    "of a file": (OF_A_FILE, "backup.db", INTO_A_FILE),
    "of a server": (OF_A_SERVER, "backup.dump", INTO_A_SERVER),
}
COUNT = 40
MOVE = (
    "UPDATE aftercommit_deliveries SET available_at = available_at {} 3600"
    " WHERE handler = 'announce' AND completed_at IS NULL"
)


@pytest.fixture
def installed(installation: Installation) -> Installation:
    """An installation whose leases end soon, with the script of the page."""
    shutil.copy(ROOT / "docs" / "deploy" / "backup.py", installation.folder)
    installation.settings = {"lease_seconds": "3", "handler_timeout_seconds": "2"}
    return installation


def carry_out(installation: Installation, lines: list[str]) -> None:
    """Run the commands of the page, with the names of this application."""
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "allocation":
            installation.succeed(*arguments)
        else:
            ours = line.replace("ALLOCATION_", "THINGS_").replace("allocation.db", "things.db")
            done = installation.shell(ours)
            assert done.returncode == 0, f"{ours}\n{done.stderr}"


@pytest.mark.parametrize("kind", BACKUPS)
def test_a_backup_made_while_a_worker_works_is_restored(
    kind: str, installed: Installation, request: pytest.FixtureRequest
) -> None:
    """What was done after the backup is done again, and only outside it could be seen twice.

    What is to be announced is not due before the backup, so that a fast worker leaves something.
    A server's is restored into another database: the old one may be what is broken.
    """
    back_up, copy, restore = BACKUPS[kind]
    if kind == "of a server":
        installed.postgres_url = request.getfixturevalue("postgres_url")
    installed.succeed("make-things", str(COUNT), dispatch="worker")
    installed.change(MOVE.format("+"))
    with installed.running("worker", "--concurrency", "1"):
        wait_until(lambda: installed.lines)
        written = len(installed.lines)
        carry_out(installed, back_up)
        installed.change(MOVE.format("-"))
        wait_until(lambda: not owed(installed))
    assert (installed.folder / copy).stat().st_mode & 0o777 == 0o600  # only its owner may read it

    if kind == "of a server":
        installed.postgres_url = request.getfixturevalue("empty_postgres_url")
    carry_out(installed, restore)
    assert len(installed.lines) >= written  # also what was in no file but the log yet
    installed.change(MOVE.format("-"))
    assert ("announce", 0) in owed(installed)
    carry_out(installed, AFTER)

    names = sorted(f"thing {n}" for n in range(1, COUNT + 1))
    assert owed(installed) == []
    assert installed.lines == names
    assert installed.count("aftercommit_events WHERE type = 'thing_polished'") == COUNT
    assert [text for text in installed.rung if "shines" not in text] == names
    assert {*installed.rung} == {*names, *(f"{name} shines" for name in names)}


def test_a_backup_that_fails_leaves_the_one_before(installed: Installation) -> None:
    """A night without a database, or with a broken one, must not take away what there is."""
    (installed.folder / "backup.db").write_text("that of yesterday")

    with pytest.raises(AssertionError, match="unable to open database file"):
        carry_out(installed, OF_A_FILE)

    assert (installed.folder / "backup.db").read_text() == "that of yesterday"
