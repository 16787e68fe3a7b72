"""What commands there are: the list is made without importing them, so it has to be checked."""

import click
import pytest

from allocation.entrypoints.cli import cli
from allocation.entrypoints.cli.main import COMMANDS
from allocation.entrypoints.lazy import LazyCommand
from allocation.entrypoints.rooms import entrypoints


@pytest.mark.parametrize("name", cli.commands)
def test_the_list_says_of_a_command_what_its_own_help_says(name: str) -> None:
    """The summary is in a table, beside the place from which the command is imported."""
    listed = cli.commands[name]
    assert isinstance(listed, LazyCommand)

    command = listed.load()

    assert command.name == name
    assert command.get_short_help_str(limit=1000) == listed.get_short_help_str(limit=1000)


def test_no_command_hides_another() -> None:
    """Rooms know nothing of each other, and could choose the same name."""
    names = [*COMMANDS, *(name for room in entrypoints() for name in room.commands)]

    assert len(names) == len(set(names))


def test_names_of_commands_are_completed_and_listed_without_importing_them() -> None:
    """A shell asks at every press of the tab key."""
    command = LazyCommand("no.such.module:command", "Do what cannot be done.")
    group = click.Group("group", commands={"impossible": command})

    with click.Context(group) as ctx:
        [completed] = group.shell_complete(ctx, "imp")
        assert (completed.value, completed.help) == ("impossible", "Do what cannot be done.")
        assert "Do what cannot be done." in group.get_help(ctx)
