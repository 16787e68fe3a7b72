"""The engine is read in an evening. The application may grow: by its use cases."""

import subprocess
import sys

from checks import code_size
from tools.repository import ROOT

TOO_LONG = "shorten it, or raise the limit in checks/code_size.py"


def test_there_is_no_more_to_read() -> None:
    """Anyone who studies it has to understand it. The limits only go down."""
    assert code_size.lines(code_size.engine()) <= code_size.ENGINE_LINES, TOO_LONG
    assert (
        code_size.lines(code_size.ENGINE / name for name in code_size.PATH) <= code_size.PATH_LINES
    ), TOO_LONG


def test_no_file_is_long() -> None:
    """One subject a file; and the manual is not in README. The application has no such limit."""
    readmes = [ROOT / "README.md", ROOT / "README.ru.md"]

    packages = code_size.files(*ROOT.glob("packages/*/src"))
    assert [file for file in packages if code_size.lines([file]) > code_size.FILE_LINES] == []
    assert [file for file in readmes if code_size.lines([file]) > code_size.README_LINES] == []


def test_the_tests_of_the_application_are_a_pyramid() -> None:
    """People copy it: three layers, and from layer to layer there are fewer tests."""
    tests = ROOT / "tests"
    counted = {layer: code_size.count_of_tests(tests / layer) for layer in code_size.LAYERS}

    assert {each.parent.name for each in tests.glob("*/*.py")} == {*code_size.LAYERS}
    assert [*counted] == sorted(counted, key=lambda layer: -counted[layer]), counted


def test_no_way_through_it_is_longer() -> None:
    """Anyone who follows a message jumps from function to function: so many, and no more."""
    counting = [sys.executable, "-m", "tools.hops"]
    ran = subprocess.run(counting, cwd=ROOT, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr
