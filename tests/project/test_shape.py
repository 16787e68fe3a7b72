"""The engine is read in an evening. The application may grow: by its use cases."""

from tests.project.shape import (
    ENGINE,
    ENGINE_LINES,
    FILE_LINES,
    PATH,
    PATH_LINES,
    README_LINES,
    engine,
    files,
    lines,
)
from tools.files import ROOT

READMES = [ROOT / "README.md", ROOT / "README.ru.md"]
TOO_LONG = "shorten it, or raise the limit in tests/project/shape.py"


def test_there_is_no_more_to_read() -> None:
    """Whoever studies it has to understand it. The limits only go down."""
    assert lines(engine()) <= ENGINE_LINES, TOO_LONG
    assert lines(ENGINE / name for name in PATH) <= PATH_LINES, TOO_LONG


def test_no_file_is_long() -> None:
    """One subject a file; and the manual is not in README."""
    limits = dict.fromkeys(files(), FILE_LINES) | dict.fromkeys(READMES, README_LINES)

    assert [file for file, limit in limits.items() if lines([file]) > limit] == []
