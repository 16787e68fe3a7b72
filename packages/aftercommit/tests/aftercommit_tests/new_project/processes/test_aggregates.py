"""An aggregate is green as it comes: its types, and its tests in each layer of a project."""

from pathlib import Path

import pytest
from aftercommit.project import new_project
from aftercommit.project.aggregate import new_aggregate

from aftercommit_tests.new_project.processes import run, types_of

pytestmark = pytest.mark.check

FIELDS = ["email:email:unique", "note", "quantity:int", "shop_id"]
COMMANDS = "make:made withdraw:withdrawn fulfil:fulfilled"


@pytest.mark.parametrize("options", [["--http"]], ids=str)
def test_its_types_and_tests_are_right(
    options: list[str], tmp_path: Path, shared_folder: Path
) -> None:
    """So are those of the project, but for the one that asks whose data a new column has."""
    new_project(tmp_path / "kiosk", options)
    new_aggregate(tmp_path / "kiosk", "Referral", FIELDS, COMMANDS)
    new_aggregate(tmp_path / "kiosk", "GiftCard", ["code"], "buy:bought redeem:redeemed")

    pytest = ["pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "tmp")]
    only = ["-k", "not about_a_person", "tests"]
    tested = run(tmp_path / "kiosk", "-m", *pytest, *only)
    for ran in (types_of(tmp_path / "kiosk", shared_folder), tested):
        assert ran.returncode == 0, ran.stdout + ran.stderr
