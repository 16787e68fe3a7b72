"""The page about a new aggregate shows what the command of its first lines makes."""

import re
import shlex
from pathlib import Path

import pytest
from aftercommit.project import new_project
from aftercommit.project.aggregate import new_aggregate

from tools.repository import ROOT

pytestmark = pytest.mark.check

PAGE = ROOT / "docs" / "new-aggregate.md"
COMMAND = re.compile(r"^\$ make new-aggregate (.+)$", re.MULTILINE)
CODE = re.compile(r"```py\n(.*?)```", re.DOTALL)


def test_the_page_shows_what_the_command_makes(tmp_path: Path) -> None:
    """Its files, their entries, and each line of code."""
    page = PAGE.read_text(encoding="utf-8")
    [command] = COMMAND.findall(page)
    given = dict(word.split("=", 1) for word in shlex.split(command))
    new_project(tmp_path / "kiosk", ["--http"])

    made = new_aggregate(
        tmp_path / "kiosk", given["NAME"], given["FIELDS"].split(), given["COMMANDS"]
    )

    for kind, paths in (("new", made.new), ("changed", made.changed)):
        shown = re.findall(rf"^{kind} +(\S+)$", page, re.MULTILINE)
        assert shown
        assert {*shown} <= {*map(str, paths)}
    texts = [(tmp_path / "kiosk" / path).read_text() for path in (*made.new, *made.changed)]
    examples = CODE.findall(page)
    assert len(examples) == 3
    assert [each for each in examples if not any(each in text for text in texts)] == []
    for path in made.new:
        assert path.name in page or "tests" in path.parts or "migrations" in path.parts, path
