"""What commands there are: the list is made without importing them, so it has to be checked."""

from collections.abc import Mapping

import click
import pytest
from aftercommit.errors import WiringError
from aftercommit.process.app import CommandLine
from aftercommit.process.cli.main import COMMANDS, LazyCommand
from click.testing import CliRunner

from aftercommit_tests.things.app import EXTENSIONS, Settings, Things, cli


@pytest.mark.parametrize("name", cli.commands)
def test_the_list_says_of_a_command_what_its_own_help_says(name: str) -> None:
    """The list is written where commands are named, so that it imports none of them.

    Some commands have commands of their own, such as `db`: no summary of these is cut.
    """
    listed = cli.commands[name]
    assert isinstance(listed, LazyCommand)

    command = listed.load()
    shown = CliRunner().invoke(cli, [name, "--help"], terminal_width=80)

    assert command.name == name
    assert command.get_short_help_str(limit=1000) == listed.get_short_help_str(limit=1000) > ""
    assert shown.exit_code == 0
    assert [line for line in shown.output.splitlines()[1:] if line.endswith("...")] == []


def test_a_command_that_is_listed_under_another_name_than_click_gives_it_is_explained() -> None:
    """Click drops the end of some names of functions; a KeyError would not say so."""
    group = click.Group()

    @group.command()
    def add_group() -> None:
        """Add a group."""

    listed = LazyCommand("Use", "add-group", "Add a group.", group.commands.__getitem__)

    with pytest.raises(WiringError, match=r'say @commands\.command\("add-group"\)'):
        listed.load()


def test_the_help_shows_every_command_in_a_group_and_on_a_line_of_its_own() -> None:
    """A summary that is cut, or a command of an unknown group, helps nobody.

    Extensions know nothing of each other: none may bring a command that another one has.
    """
    extensions = [each.commands for each in EXTENSIONS]
    brought: list[Mapping[str, Mapping[str, str]]] = [COMMANDS, Things.commands, *extensions]
    with click.Context(cli, info_name="things", terminal_width=80) as ctx:
        lines = cli.get_help(ctx).splitlines()

    assert {f"{group}:" for groups in brought for group in groups} <= {*lines}
    shown = [tuple(line.strip().split(maxsplit=1)) for line in lines if line.startswith("  ")]
    listed = [each for groups in brought for group in groups.values() for each in group.items()]
    assert [each for each in listed if shown.count(each) != 1] == []


@pytest.mark.parametrize("command", ["worker", "run"])
def test_what_the_deliveries_of_a_worker_cause_is_claimed_like_all_else(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a silent mail server would have all slots, through those who e-mail afterwards."""
    started: list[Settings] = []

    def start(cli: object, settings: Settings, *services: object) -> None:
        started.append(settings)

    monkeypatch.setattr(CommandLine, "run_services", start)
    environment = {"THINGS_DISPATCH": "inline", "THINGS_BROKER_URLS": "amqp://localhost"}

    ran = CliRunner(env=environment).invoke(cli, [command], catch_exceptions=False)

    assert (ran.exit_code, [each.dispatch for each in started]) == (0, ["worker"])


def test_names_of_commands_are_completed_and_listed_without_importing_them() -> None:
    """A shell asks at every press of the tab key."""

    def heavy(name: str) -> click.Command:
        raise AssertionError("imported")

    command = LazyCommand("Use", "impossible", "Do what cannot be done.", heavy)
    group = click.Group("group", commands={"impossible": command})

    with click.Context(group) as ctx:
        [completed] = group.shell_complete(ctx, "imp")
        assert (completed.value, completed.help) == ("impossible", "Do what cannot be done.")
        assert "Do what cannot be done." in group.get_help(ctx)
