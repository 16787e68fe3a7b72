"""What commands there are: the list is made without importing them, so it has to be checked."""

from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from aftercommit.errors import WiringError
from aftercommit.process.app import CommandLine
from aftercommit.process.cli.main import COMMANDS, LazyCommand, commands_in
from click.testing import CliRunner

from aftercommit_tests.things.app import EXTENSIONS, Settings, cli


@pytest.mark.parametrize("name", cli.commands)
def test_the_list_says_of_a_command_what_its_own_help_says(name: str) -> None:
    """The list is written where commands are named, so that it imports none of them."""
    listed = cli.commands[name]
    assert isinstance(listed, LazyCommand)

    command = listed.load()

    assert command.name == name
    assert command.get_short_help_str(limit=1000) == listed.get_short_help_str(limit=1000) > ""


def test_a_command_that_is_listed_under_another_name_than_click_gives_it_is_explained() -> None:
    """Click drops the end of some names of functions; a KeyError would not say so."""
    group = click.Group()

    @group.command()
    def add_group() -> None:
        """Add a group."""

    listed = LazyCommand("Use", "add-group", "Add a group.", group.commands.__getitem__)

    with pytest.raises(WiringError, match=r'say @commands\.command\("add-group"\)'):
        listed.load()


SOURCE = '''
@commands.command("add-group")
@click.option(
    "--name",
)
def add_group(
    name: str,
) -> None:
    """Add a group.

    With a name.
    """

@commands.command()
def lost() -> None:
    pass

def helper() -> None:
    """Help."""

@commands.command()
@click.pass_obj
async def add_part(name: str) -> None:
    """Add a part."""
'''


def test_commands_are_found_in_the_source_of_their_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without importing it: it may need a database, and more."""
    (tmp_path / "kiosk").mkdir()
    (tmp_path / "kiosk" / "commands.py").write_text(SOURCE)
    (tmp_path / "kiosk" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    found = {command.name: command.help for command in commands_in("kiosk.commands", "Use")}

    assert found == {"add-group": "Add a group.", "add-part": "Add a part."}


def test_no_command_hides_another() -> None:
    """Extensions know nothing of each other, and could choose the same name."""
    extensions = [each.commands for each in EXTENSIONS]
    brought: list[Mapping[str, Mapping[str, str]]] = [COMMANDS, *extensions]
    names = [name for groups in brought for group in groups.values() for name in group]
    own = [each.name for each in commands_in("aftercommit_tests.things.app", "Use")]

    assert len(own + names) == len({*own, *names}) == len(cli.commands)


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
