"""Reads the tutorials: pages of text, files, changes and commands, in the order of the reader.

A block of Python is a new file, whose name is in its first line. One of changes (`diff`) names its
file there, too; what stands after each `@@` is looked for in it, found exactly once, and replaced.
One of the console has commands.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.project.consoles import Command, commands

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = DOCS / "tutorial.md"
CHECKLIST = DOCS / "use-case.md"
PATCH = DOCS / "use_case" / "deactivate_user.patch"

BY_HAND = re.findall(r"^\+\+\+ b/(.+)$", PATCH.read_text(), re.MULTILINE)
"""The files that the worked use case changes."""

_PART = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(python|diff|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLES = {"python": "# ", "diff": "+++ "}


@dataclass(frozen=True, slots=True)
class Change:
    """A file, and what it has to be, made of what it was; "" where it was not there."""

    file: str
    make: Callable[[str], str]


Step = Change | Command


def tutorials(page: Path = TUTORIAL) -> dict[str, list[Step]]:
    """Return the steps of each tutorial of a page, by its title."""
    _, *rest = _PART.split(page.read_text())
    found = {title: list(_steps(text)) for title, text in zip(rest[::2], rest[1::2], strict=True)}
    return {title: steps for title, steps in found.items() if steps}


def _steps(text: str) -> Iterator[Step]:
    for kind, block in _BLOCK.findall(text):
        if kind == "console":
            yield from commands(block)
        else:
            title, _, body = block.partition("\n")
            assert title.startswith(_TITLES[kind]), f"a block without the name of its file: {title}"
            file = title.removeprefix(_TITLES[kind])
            yield Change(file, _written(file, body) if kind == "python" else _edited(file, body))


def _written(file: str, body: str) -> Callable[[str], str]:
    def make(before: str) -> str:
        assert not before, f"{file} is there already"
        return body.lstrip("\n")

    return make


def _edited(file: str, body: str) -> Callable[[str], str]:
    hunks = [hunk.splitlines() for hunk in body.split("@@\n")[1:]]
    assert hunks, f"nothing to change in {file}"

    def make(text: str) -> str:
        for hunk in hunks:
            old, new = _side(hunk, "-"), _side(hunk, "+")
            count = text.count(old)
            assert count == 1, f"{file} has {count} times:\n{old}"
            text = text.replace(old, new)
        return text

    return make


def _side(hunk: list[str], of: str) -> str:
    return "".join(f"{line[1:]}\n" for line in hunk if line[:1] in ("", " ", of))
