"""The versions with which a new project is tested: those of ours that it needs.

    python -m tools.project_constraints

writes them; a test compares.
"""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires

from aftercommit.project import CONSTRAINTS, TEMPLATE
from packaging.requirements import Requirement

from tools.repository import ROOT

HEAD = """\
# Every version that the tests were run with, also of what builds the package.
"""
OURS = {"aftercommit", "sqlalchemy-anyio"}


def text() -> str:
    """Return the file."""
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += project["project"]["optional-dependencies"]["test"]
    needed = _closure(map(Requirement, wanted)) - OURS
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    lines = [each for each in pinned if _normalized(each.partition("==")[0]) in needed]
    return HEAD + "".join(f"{line}\n" for line in lines)


def _closure(wanted: Iterable[Requirement]) -> set[str]:
    """Return the names of all requirements of these, with their extras, on any platform."""
    found, left = set[str](), [(each, frozenset(each.extras)) for each in wanted]
    seen = set[tuple[str, frozenset[str]]]()
    while left:
        requirement, extras = left.pop()
        name = _normalized(requirement.name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        try:
            needed = [*map(Requirement, requires(name) or ())]
        except PackageNotFoundError:  # of another Python, or platform
            continue
        for each in needed:
            marker = each.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in (*extras, "")):
                left.append((each, frozenset(each.extras)))
    return found


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    CONSTRAINTS.write_text(text())
