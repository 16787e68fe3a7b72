"""The machinery of the core is read in an evening, and the path through it in an hour."""

from tests.shape import (
    ALLOCATION,
    FILE_LINES,
    LONG_BODY_LINES,
    MACHINERY_LINES,
    MEDIAN_BODY_LINES,
    PATH,
    PATH_LINES,
    SOURCE,
    core,
    extension_folders,
    files,
    functions,
    lines,
    machinery,
)


def test_the_machinery_is_read_in_an_evening() -> None:
    """Who copies it has to understand it. Use cases are another matter: they may grow."""
    count = lines(machinery(core()))

    assert count <= MACHINERY_LINES, "shorten it, or raise MACHINERY_LINES in tests/shape.py"


def test_the_path_is_read_in_an_hour() -> None:
    """It leads through the core, and answers what happens when the process dies."""
    path = [ALLOCATION / name for name in PATH]

    assert set(path) <= set(core())
    assert lines(machinery(path)) <= PATH_LINES, "shorten it, or raise PATH_LINES in tests/shape.py"


def test_no_file_is_long() -> None:
    """One subject a file."""
    long = {str(file.relative_to(SOURCE)): lines([file]) for file in files()}

    assert {name: count for name, count in long.items() if count > FILE_LINES} == {}


def test_functions_are_short() -> None:
    """The median, and nine in ten, of all the source and of the core alone."""
    for some in (files(), core()):
        middle, long = functions(some)

        assert middle <= MEDIAN_BODY_LINES
        assert long <= LONG_BODY_LINES


def test_every_extension_has_a_folder() -> None:
    """Or what is in it would count as core."""
    packages = {file.parent.relative_to(ALLOCATION) for file in core()}

    assert {str(package) for package in packages} == {
        ".",
        "adapters",
        "adapters/smtp",
        "domain",
        "entrypoints",
        "entrypoints/http",
        "erase_user",
        "process",
        "process/cli",
        "service_layer",
        "user_import",
    }
    assert all((folder / "__init__.py").is_file() for folder in extension_folders())
