"""An aggregate is made with its entries in each list; what cannot be made writes nothing."""

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from aftercommit import InvalidValue
from aftercommit.project import OPTIONS, new_project
from aftercommit.project.aggregate import new_aggregate

pytestmark = pytest.mark.check

FIELDS = ["email:email:unique", "note", "quantity:int", "shop_id"]
COMMANDS = "make:made withdraw:withdrawn fulfil:fulfilled"
VARIANTS: Mapping[str, tuple[str, list[str], str]] = {
    "all": ("Referral", FIELDS, COMMANDS),
    "smallest": ("gift_card", ["code"], "buy:bought"),
    "longest": (
        "AnOrderOfTwentyChars",
        ["a_field_of_20_letter"],
        "make_a_one:was_a_made stop_a_one:was_a_stop",
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with all options."""
    new_project(tmp_path / "kiosk", [*OPTIONS])
    return tmp_path / "kiosk"


def contents(folder: Path) -> dict[Path, str]:
    """Return the texts of all files in a folder."""
    return {each: each.read_text() for each in folder.rglob("*") if each.is_file()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_its_style_is_right_whatever_it_is_called(variant: str, project: Path) -> None:
    """Otherwise the project would be red when nobody has written anything."""
    new_aggregate(project, *VARIANTS[variant])

    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        checked = subprocess.run(ruff, cwd=project, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


def test_what_is_there_loses_no_line(project: Path) -> None:
    """It gets entries: a comma or an import may stand elsewhere afterwards."""
    before = contents(project)

    made = new_aggregate(project, *VARIANTS["all"])

    now = contents(project)
    assert {*now} - {*before} == {project / each for each in made.new}
    assert {each for each in before if now[each] != before[each]} == {
        project / each for each in made.changed
    }
    for file, text in before.items():
        assert {*_words(text)} <= {*_words(now[file])}, file


def _words(text: str) -> list[str]:
    return re.split(r"[\s()\[\]{},]+", text)


def test_two_aggregates_stand_beside_each_other(project: Path) -> None:
    """The second has the next revision, and finds the lists with the entries of the first."""
    new_aggregate(project, "Referral")
    second = new_aggregate(project, "GiftCard")

    migrations = project / "src/kiosk/adapters/migrations"
    assert sorted(each.name for each in migrations.glob("*.py")) == [
        "kiosk_0001_initial.py",
        "kiosk_0002_referrals.py",
        "kiosk_0003_gift_cards.py",
    ]
    assert 'down_revision = "kiosk_0002"' in (migrations / "kiosk_0003_gift_cards.py").read_text()
    handlers = (project / "src/kiosk/service_layer/handlers.py").read_text()
    assert "on(messages.CreateReferral, create_referral)" in handlers
    assert "on(messages.CreateGiftCard, create_gift_card)" in handlers
    assert Path("tests/builders.py") in second.changed


IMPOSSIBLE = {
    "": "the name '' has to look like Referral",
    "referral-note": "has to look like Referral",
    "Class": "has to look like Referral",
    "Реферал": "has to look like Referral",
    "Order": "the class Order is already in kiosk.domain.orders",
    "Line": "the class Line is already in kiosk.domain.orders",
    "Statistic": "the name statistics is already in adapters/orm.py",
    "AnOrderOf21Characters": "at most 20 characters",
    "Referral class": "the field 'class' has class, a word of Python",
    "Referral note --commands make:made return:returned": "has return, a word of Python",
    "Referral 1st": "the field '1st' is not NAME, NAME:KIND",
    "Referral version": "the field 'version' is not NAME, NAME:KIND",
    "Referral note:float": "with one of the kinds text, email, int, uuid",
    "Referral note note": "the field note is given twice",
    "Referral referral_id": "the field referral_id is given twice",
    "Referral note --commands make": "the command 'make' has to be like",
    "Referral note --commands make:made note:noted": "the command note is the name of something",
    "Referral note --commands record:recorded": "the command record is the name of something",
}


@pytest.mark.parametrize(("line", "problem"), IMPOSSIBLE.items())
def test_a_name_that_cannot_be_used_is_refused(line: str, problem: str, project: Path) -> None:
    """Before anything is written."""
    before = contents(project)
    words, _, commands = line.partition(" --commands ")
    name, *fields = words.split(" ")

    with pytest.raises(InvalidValue, match=problem.replace("(", r"\(")):
        new_aggregate(project, name, fields, *([commands] if commands else []))

    assert contents(project) == before


UNEXPECTED = [
    ("service_layer/handlers.py", "Handlers(\n", "make_table(\n", "it has no table `Handlers"),
    ("service_layer/unit_of_work.py", "class UnitOfWork:", "class Work:", "no class UnitOfWork"),
    ("adapters/orm.py", "map_imperatively", "map_it", "no statement maps a class"),
    ("adapters/repositories.py", "return {}", "return MEANINGS", "no `refusals` that ends with"),
    ("adapters/repositories.py", "def refusals", "def meanings", "no `refusals` that ends with"),
    ("entrypoints/app.py", '"Use"', '"Do"', "it lists no commands under"),
    ("entrypoints/app.py", "    WebExtension(", "    Web(", "it has no WebExtension"),
    ("views.py", "import", "imports", "cannot be read"),
    ("bootstrap.py", "open_application", "open_all", "it has no call `open_application"),
    ("domain/bases.py", "class RuleViolation", "class Refused", "defines no class RuleViolation"),
    (
        "adapters/migrations/kiosk_0001_initial.py",
        "revision =",
        "rev =",
        "does not say revision",
    ),
]


@pytest.mark.parametrize(("name", "right", "wrong", "problem"), UNEXPECTED)
def test_a_file_that_is_not_as_expected_is_refused(
    name: str, right: str, wrong: str, problem: str, project: Path
) -> None:
    """It is named, with what is looked for, and no file is written."""
    file = project / "src/kiosk" / name
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    before = contents(project)

    with pytest.raises(InvalidValue, match=problem):
        new_aggregate(project, *VARIANTS["all"])

    assert contents(project) == before


@pytest.mark.parametrize("written", ["", "{,", "[]"])
def test_a_golden_file_that_is_none_is_refused(written: str, project: Path) -> None:
    """Its shapes would be lost."""
    file = project / "tests/golden/stored_events.json"
    file.write_text(written)

    with pytest.raises(InvalidValue, match=r"stored_events\.json cannot be read"):
        new_aggregate(project, *VARIANTS["all"])

    assert file.read_text() == written


def test_handlers_can_ask_whether_one_has_ended(project: Path) -> None:
    """Without a hand in `views.py` and `bootstrap.py`, also where there is no other query."""
    file = project / "src/kiosk/bootstrap.py"
    of_orders = 'queries={"is_cancelled": views.is_cancelled},'
    assert of_orders in file.read_text()
    file.write_text(file.read_text().replace(of_orders, ""))

    new_aggregate(project, "Referral", ["note"], "make:made withdraw:withdrawn")
    new_aggregate(project, "Booking", ["note"], "make:made cancel:cancelled end:ended")

    queries = ast.parse(re.findall(r"queries=(\{.*?\})", file.read_text(), re.S)[0], mode="eval")
    assert ast.unparse(queries) == str(
        {
            each: Name(f"views.{each}")
            for each in ("is_referral_withdrawn", "is_booking_cancelled", "is_booking_ended")
        }
    )
    views = (project / "src/kiosk/views.py").read_text()
    assert "async def is_booking_ended(database: Database, booking_id: UUID) -> bool:" in views


class Name(str):
    """A name, as code shows it."""

    __slots__ = ()
    __repr__ = str.__str__


def test_a_second_time_it_is_refused(project: Path) -> None:
    """What was changed in it by hand stays."""
    new_aggregate(project, "Referral")
    before = contents(project)

    with pytest.raises(
        InvalidValue, match="the class Referral is already in kiosk.domain.referrals"
    ):
        new_aggregate(project, "Referral")

    assert contents(project) == before


def test_elsewhere_than_in_a_project_it_is_refused(tmp_path: Path) -> None:
    """By the command, too, which says what is missing."""
    command = [sys.executable, "-m", "aftercommit", "new-aggregate", "Referral", "note"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert ran.returncode == 2
    assert "is not the folder of a project: it has no src/NAME/service_layer" in ran.stderr


def test_the_command_lists_what_it_has_written(project: Path) -> None:
    """So that one looks at it."""
    command = [sys.executable, "-m", "aftercommit", "new-aggregate", "Referral", "note"]
    command += ["--commands", "make:made"]
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    assert "new      src/kiosk/domain/referrals.py\n" in ran.stdout
    assert "changed  src/kiosk/adapters/orm.py\n" in ran.stdout
    assert "repeats the name" not in ran.stdout


def test_a_verb_that_repeats_the_name_is_pointed_out(project: Path) -> None:
    """Afterwards, messages are stored under such a name."""
    command = [sys.executable, "-m", "aftercommit", "new-aggregate", "Booking"]
    command += ["--commands", "book:booked cancel:cancelled"]
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    assert "\nBookBooking: a verb repeats the name." in ran.stdout
