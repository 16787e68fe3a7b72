"""A file of many rows: each batch is one command, and a bad row affects no other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import click
import pytest
from aftercommit import CommandLine as Cli
from aftercommit import Handlers, Unavailable, on
from aftercommit.extensions.operations.csv_import import import_csv
from click.testing import CliRunner, Result

from aftercommit_tests.command_line import CommandLine, own_logging
from aftercommit_tests.things.app import APP, Settings, bootstrap
from aftercommit_tests.things.domain import Command, MakeThing, ThingId, ThingMade
from aftercommit_tests.things.handlers import look_at, make_thing, write_down
from aftercommit_tests.things.storage import UnitOfWork

AWAY = "away"


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeThings(Command):
    """Make all of these things, or none."""

    things: tuple[MakeThing, ...]


async def make_things(command: MakeThings, uow: UnitOfWork) -> None:
    """Make each that is not there; its name is its id."""
    for each in command.things:
        if each.name == AWAY:
            raise Unavailable("somebody is away")
        await make_thing(each, uow)


HANDLERS = Handlers(
    commands=[on(MakeThings, make_things)], events=[on(ThingMade, look_at, write_down)]
)
IMPORTING = APP.with_parts(
    handlers=HANDLERS,
    open=lambda app, settings, *, observers, delivers: bootstrap(
        settings, handlers=HANDLERS, observers=observers
    ),
)


def of_row(cells: Mapping[str, str]) -> MakeThing:
    return MakeThing(thing_id=ThingId(uuid4()), name=cells["name"])


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dispatch")
@click.pass_obj
def import_things(cli: Cli[Settings], file: Path, dispatch: str | None) -> None:
    import_csv(
        cli,
        file,
        columns=["name"],
        read=of_row,
        command=lambda rows: MakeThings(things=tuple(rows)),
        imported=ThingMade,
        dispatch=dispatch,
    )


@pytest.fixture
def database(command_line: CommandLine) -> Iterator[CommandLine]:
    """A database in the current folder, and logging that is set back."""
    with own_logging():
        yield command_line


def import_rows(database: CommandLine, *names: str, dispatch: str = "worker") -> Result:
    """Import a file with these names."""
    (database.folder / "things.csv").write_text("".join(f"{row}\n" for row in ("name", *names)))
    cli = Cli(IMPORTING, {"event_loop": database.backend})
    return CliRunner().invoke(import_things, ["things.csv", "--dispatch", dispatch], obj=cli)


NAMES = [f"thing {number}" for number in range(250)]
COMMANDS = "SELECT count(*) FROM aftercommit_commands"


def test_a_hundred_rows_are_one_command(database: CommandLine) -> None:
    """A commit for each would take many times as long; one for all would keep others waiting."""
    result = import_rows(database, *NAMES)

    assert (result.exit_code, result.stdout) == (0, "imported 250, already there 0, refused 0\n")
    assert result.stderr == '500 deliveries due; run "things worker --until-idle"\n'
    assert database.rows(COMMANDS) == [(3,)]


def test_of_a_refused_batch_each_row_stands_or_falls_alone(database: CommandLine) -> None:
    """The rows before and after it are stored, and it is named with its line."""
    import_rows(database, NAMES[7])

    result = import_rows(database, *NAMES[:50], '""', *NAMES[50:120])

    assert result.exit_code == 1
    assert result.stdout == "imported 119, already there 0, refused 2\n"
    taken, nameless, _ = result.stderr.splitlines()
    assert taken == f"line 9: there is a thing called {NAMES[7]}"
    assert nameless == "line 52: a thing has to have a name"
    assert {name for (name,) in database.rows("SELECT name FROM things")} == {*NAMES[:120]}


def test_what_is_no_refusal_ends_the_import_and_what_is_committed_stays(
    database: CommandLine,
) -> None:
    """It is run again when the cause is gone: no row has to be looked for by hand."""
    result = import_rows(database, *NAMES[:150], AWAY)

    assert isinstance(result.exception, Unavailable)
    assert database.rows("SELECT count(*) FROM things") == [(100,)]


@pytest.mark.parametrize(("dispatch", "written"), [("worker", 0), ("inline", 12)])
def test_workers_do_the_rest_unless_an_operator_says_otherwise(
    database: CommandLine, dispatch: str, written: int
) -> None:
    """Ten at a time: all their handlers have one lease."""
    result = import_rows(database, *NAMES[:12], dispatch=dispatch)

    assert result.stdout == "imported 12, already there 0, refused 0\n"
    assert len(database.lines) == written
    assert database.rows(COMMANDS) == [(2 if dispatch == "inline" else 1,)]
