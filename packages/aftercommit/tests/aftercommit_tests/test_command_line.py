"""What commands there are: the list is made without importing them, so it has to be checked."""

import sys
from importlib.metadata import version

import click
import pytest
from aftercommit import CommandLine, command_line
from aftercommit.errors import WiringError
from click.testing import CliRunner

from aftercommit_tests.environments import run
from aftercommit_tests.inside.process import OF_ALL, LazyCommand, commands
from aftercommit_tests.things.app import APP, Settings, cli


@pytest.mark.parametrize("name", cli.commands)
def test_the_list_says_of_a_command_what_its_own_help_says(name: str) -> None:
    """The list is written where commands are named, so that it imports none of them."""
    listed = cli.commands[name]
    assert isinstance(listed, LazyCommand)

    command = listed.load()

    assert command.name == name
    assert command.get_short_help_str(limit=1000) == listed.get_short_help_str(limit=1000) > ""


@pytest.mark.parametrize("part", ["handlers", "codec", "settings", "history"])
def test_what_an_application_lists_is_there(part: str) -> None:
    """It is imported when it is used, which may be late."""
    assert getattr(APP, part)()


def test_a_command_that_is_not_where_it_is_said_to_be_is_refused_by_its_place() -> None:
    """A KeyError would not say so."""
    lost = LazyCommand("Use", "aftercommit_tests.things.app:lose", "Lose it.")
    no_command = LazyCommand("Use", "aftercommit_tests.things.app:APP", "Lose it.")

    for each in (lost, no_command):
        with pytest.raises(WiringError, match="things.app:"):
            each.load()


def test_no_command_hides_another() -> None:
    """Extensions know nothing of each other, and could choose the same name."""
    listed = [c for each in (OF_ALL, *APP.parts) for g in each.commands.values() for c in g]

    assert len(listed) == len(cli.commands) > 10


@pytest.mark.parametrize(
    ("commands", "problem"),
    [
        ({"Maintain": {f"{commands.__name__}:db": "Upgrade it."}}, "one name: db"),
        (
            {"Tools": {"aftercommit_tests.things.app:cli": "Do it."}},
            "groups of commands are .*, not: Tools",
        ),
    ],
)
def test_a_command_that_nobody_could_call_or_find_is_refused(
    commands: dict[str, dict[str, str]], problem: str
) -> None:
    """One of the same name would replace another one, and a group of its own would not be shown."""
    with pytest.raises(WiringError, match=problem):
        command_line(APP.with_parts(commands=commands))


ENGINE = f"aftercommit {version('aftercommit')}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("things", ENGINE), ("allocation", f"{version('allocation')} ({ENGINE})")],
)
def test_the_version_is_that_of_the_application_and_of_the_engine(name: str, shown: str) -> None:
    """What an outbox is named after need not be installed."""
    line = command_line(APP.with_parts(name=name))

    told = CliRunner().invoke(line, ["--version"], prog_name="program")

    assert (told.exit_code, told.output) == (0, f"program, version {shown}\n")


def test_the_version_of_the_engine_is_shown_where_no_outbox_is_named() -> None:
    """Whoever reports an error may have none, or one that cannot be imported."""
    shown = run(sys.executable, "-m", "aftercommit", "--version")

    assert shown == f"aftercommit, version {version('aftercommit')}\n"


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
    command = LazyCommand("Use", "no_module:impossible", "Do what cannot be done.")
    group = click.Group("group", commands={"impossible": command})

    with click.Context(group) as ctx:
        [completed] = group.shell_complete(ctx, "imp")
        assert (completed.value, completed.help) == ("impossible", "Do what cannot be done.")
        assert "Do what cannot be done." in group.get_help(ctx)
