"""Applications and extensions of version 0.2 run for one more version, with a warning."""

from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
from aftercommit import App, Extension, command_line
from aftercommit.errors import WiringError
from aftercommit.extensions.otel import OtelExtension

from aftercommit_tests.things.app import APP, Settings
from aftercommit_tests.things.handlers import CODEC, HANDLERS

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

@commands.command("import")
def import_parts() -> None:
    """Import parts."""

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


class OldExtension(Extension):
    """Has a method for each thing that it brings."""

    name = "old"
    commands: ClassVar = {"Inspect": {"look": "Look for it."}}
    log_formats = ("old",)

    def command(self, name: str) -> click.Command:
        """Return one of its commands."""
        return click.Command(name, callback=lambda: click.echo("looked"))

    def worker_services(self, settings: Settings) -> list[Any]:
        """Return one."""
        return [settings.application]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App[Any]:
    """An application as version 0.2 had them: a subclass, whose modules have commands."""
    (tmp_path / "kiosk").mkdir()
    (tmp_path / "kiosk" / "commands.py").write_text(SOURCE)
    (tmp_path / "kiosk" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(DeprecationWarning, match="write KIOSK = App"):

        class Kiosk(App[Settings]):
            name = "things"
            summary = "Sell things."
            extensions = (OldExtension(),)
            default_database_url = "sqlite:///things.db"
            commands: ClassVar = {"Use": ["kiosk.commands"]}

            def handlers(self) -> Any:
                return HANDLERS

            def codec(self) -> Any:
                return CODEC

            def settings(self) -> Any:
                return Settings

    with pytest.warns(DeprecationWarning, match=r"return Parts\(…\) from its method parts\(\)"):
        return Kiosk()  # type: ignore[call-arg]


def test_a_subclass_has_what_its_methods_return(old: App[Any]) -> None:
    """And what it does not have is as it was."""
    assert (old.handlers(), old.codec(), old.history()) == (HANDLERS, CODEC, None)
    assert old.load({"max_attempts": 3}, {}).max_attempts == 3
    assert old.parts.log_formats == ("text", "old")
    services: list[Any] = [*old.parts.services(old.load({}, {}))]
    assert services == ["things"]


def test_its_commands_are_found_in_the_source_of_their_modules(old: App[Any]) -> None:
    """Without importing them: they may need a database, and more."""
    found = command_line(old)

    assert found.commands["add-group"].help == "Add a group."
    assert found.commands["add-part"].help == "Add a part."
    assert found.commands["import"].help == "Import parts."
    assert "look" in found.commands
    assert "helper" not in found.commands


def test_a_command_that_a_method_returns_runs(
    old: App[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is asked for when somebody calls it."""
    command_line(old)(["look"], standalone_mode=False)

    assert capsys.readouterr().out == "looked\n"


def test_what_overrides_a_method_that_nobody_calls_any_more_is_refused() -> None:
    """It would be forgotten without a word."""

    class Otel(OtelExtension):
        def observer(self, settings: Settings) -> None:
            """Watch nothing."""

    with pytest.raises(WiringError, match=r"has only the method parts\(\).*observer"):
        APP.with_parts(extensions=[Otel()])


def test_an_application_that_lists_its_parts_is_told_nothing() -> None:
    """Nor is one with other parts."""
    assert APP.with_parts(summary="Make more things.").summary == "Make more things."
