"""A list fits into a narrow terminal, whatever its rows hold; a pipe gets a line for each row."""

import pytest

from aftercommit_tests.processes import LIMIT_SECONDS, Installation, on_terminal

pytestmark = [pytest.mark.on("trio"), pytest.mark.check]

COLUMNS = 80
NAME = "a lamp of glass " * 4 + "лампа" * 20
"""In words that fit into the terminal, and one that does not."""
WHY = "the bell is mended, and nobody has rung it by hand since the day before yesterday"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return an installation with what each list shows."""
    installation = Installation(tmp_path_factory.mktemp("narrow"), backend="trio")
    installation.succeed("make-thing", NAME, bell_file=".", max_attempts="1")  # it is a folder
    for name in ("announce", "praise"):
        installation.succeed("deliveries", "pause", name, "--by", "Maria", "--reason", WHY)
    return installation


@pytest.mark.parametrize("command", ["deliveries list --all", "deliveries decisions", "history"])
def test_a_row_is_folded_at_the_edge_of_a_terminal_only(command: str, stored: Installation) -> None:
    """Rows that the terminal itself folds cannot be told apart."""
    with on_terminal(stored, *command.split(), columns=str(COLUMNS)) as (process, pieces):
        shown = b"".join(pieces).decode().splitlines()
        process.communicate(timeout=LIMIT_SECONDS)
    piped = stored.succeed(*command.split()).splitlines()

    assert process.returncode == 0
    assert max(map(len, shown)) <= COLUMNS < max(map(len, piped))
    begun = [line for line in shown if not line.startswith(" ")]
    assert [line.split()[0] for line in begun] == [line.split()[0] for line in piped]
    assert sorted("".join(shown).replace(" ", "")) == sorted("".join(piped).replace(" ", ""))
