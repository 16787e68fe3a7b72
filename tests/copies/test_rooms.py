"""Each room can be taken out of a copy, and all of them, and the rest still works."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from allocation.rooms import ROOMS
from tests.copies.conftest import CORE_ON_SQLITE, ON_ONE_EVENT_LOOP, ROOT, Copy

pytestmark = pytest.mark.timeout(280)


def take_out(copy: Copy, *rooms: str) -> None:
    copy.python("-m", "tools.rooms", "without", *rooms)


def files(copy: Copy) -> Iterator[Path]:
    """Yield the Python files that are left."""
    for folder in ("src", "tests", "benchmarks", "tools"):
        yield from (copy.folder / folder).rglob("*.py")


def requirements(folder: Path) -> set[str]:
    """Return the names of all distributions that pyproject.toml asks for."""
    return set(re.findall(r'"([a-z][\w.-]*)\S*>=', (folder / "pyproject.toml").read_text()))


def imported(file: Path) -> Iterator[str]:
    """Yield the packages that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def assert_nothing_is_left_of(copy: Copy, rooms: list[str]) -> None:
    """Neither its modules nor its libraries: those of this process are there for all copies."""
    gone = {name.lower() for name in requirements(ROOT) - requirements(copy.folder)}
    libraries = packages_distributions()
    modules = re.compile(rf"allocation\.(adapters|entrypoints)\.({'|'.join(rooms)})\b")
    for file in files(copy):
        needed = {
            name
            for name in imported(file)
            if gone.intersection(each.lower() for each in libraries.get(name, ()))
        }
        assert (file, needed, modules.findall(file.read_text())) == (file, set(), [])


def assert_the_rest_works(copy: Copy, rooms: list[str], which: tuple[str, ...]) -> None:
    assert_nothing_is_left_of(copy, rooms)
    copy.check()
    assert "registered Иван" in copy.python("-m", "allocation", "demo")
    copy.test("--collect-only", "tests/sqlalchemy_anyio", "tests/e2e", "tests/copies")
    copy.test("tests/unit", "tests/integration", *which)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_can_be_taken_out(room: str, copy: Copy) -> None:
    """Whoever copies this must be able to do without what they do not need.

    No room knows of event loops, so that the tests of what is left run on one of them.
    """
    take_out(copy, room)

    assert_the_rest_works(copy, [room], ON_ONE_EVENT_LOOP)


def test_all_rooms_can_be_taken_out(copy: Copy) -> None:
    """What is left is the core: what a reader has to understand."""
    take_out(copy, *ROOMS)

    assert_the_rest_works(copy, [*ROOMS], CORE_ON_SQLITE)


def test_what_cannot_be_taken_out_is_said(copy: Copy) -> None:
    """And nothing is touched: work that is not committed could not be told from the rest."""
    with pytest.raises(AssertionError, match="there is no room 'attic'; there are: postgresql, "):
        take_out(copy, "attic")
    (copy.folder / "note.txt").write_text("call Maria")
    with pytest.raises(AssertionError, match="not committed"):
        take_out(copy, "smtp")

    assert copy.run("git", "status", "--porcelain") == "?? note.txt\n"
