"""The engine is read in an evening. The application may grow: by its use cases."""

import pytest

from tests.project.shape import (
    ENGINE,
    ENGINE_LINES,
    EXTENSIONS,
    FILE_LINES,
    LONG_BODY_LINES,
    MEDIAN_BODY_LINES,
    PATH,
    PATH_LINES,
    ROOT,
    engine,
    files,
    functions,
    lines,
)


@pytest.mark.parametrize(
    ("some", "limit"),
    [
        (engine(), ENGINE_LINES),
        ([*(ENGINE / name for name in PATH), ENGINE / "process" / "worker.py"], PATH_LINES),
    ],
    ids=["the engine", "the path through it"],
)
def test_there_is_no_more_to_read(some: list[object], limit: int) -> None:
    """Whoever studies it has to understand it. The limits only go down."""
    assert lines(some) <= limit, "shorten it, or raise the limit in tests/project/shape.py"  # type: ignore[arg-type]


def test_no_file_is_long() -> None:
    """One subject a file."""
    long = {str(file.relative_to(ROOT)): lines([file]) for file in files()}

    assert {name: count for name, count in long.items() if count > FILE_LINES} == {}


def test_functions_are_short() -> None:
    """The median, and nine in ten, of all the source, and of the engine alone."""
    for some in (files(), engine()):
        middle, long = functions(some)

        assert middle <= MEDIAN_BODY_LINES
        assert long <= LONG_BODY_LINES


def test_every_extension_has_an_extra_of_its_name() -> None:
    """What is missing is installed by the name of the folder."""
    extras = (ROOT / "packages" / "aftercommit" / "pyproject.toml").read_text()
    folders = {file.parent.name for file in EXTENSIONS.glob("*/__init__.py")}

    assert {name for name in folders if f"\n{name} = [" not in extras} == set()
