"""What commands there are: the list is made without importing them, so it has to be checked."""

from pathlib import Path
from pkgutil import resolve_name

import click
import pytest

from allocation.entrypoints.cli import cli
from allocation.entrypoints.cli.main import COMMANDS, LazyCommand
from allocation.rooms import ROOMS


@pytest.mark.parametrize("name", cli.commands)
def test_the_list_says_of_a_command_what_its_own_help_says(name: str) -> None:
    """The list is read from the sources; what is called is what they have made."""
    listed = cli.commands[name]
    assert isinstance(listed, LazyCommand)

    command = resolve_name(listed.place)

    assert command.name == name
    assert command.get_short_help_str(limit=1000) == listed.get_short_help_str(limit=1000) > ""


def test_no_command_hides_another() -> None:
    """Rooms know nothing of each other, and could choose the same name."""
    names = [*COMMANDS, *(name for room in ROOMS.values() for name in room.commands)]

    assert len(names) == len(set(names))


def test_names_of_commands_are_completed_and_listed_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell asks at every press of the tab key."""
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").touch()
    (tmp_path / "heavy" / "commands.py").write_text(
        'raise RuntimeError("imported")\ndef command():\n    """Do what cannot be done."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    command = LazyCommand("heavy.commands:command")
    group = click.Group("group", commands={"impossible": command})

    with click.Context(group) as ctx:
        [completed] = group.shell_complete(ctx, "imp")
        assert (completed.value, completed.help) == ("impossible", "Do what cannot be done.")
        assert "Do what cannot be done." in group.get_help(ctx)
