"""What the last release offered is offered still; what has another name warns for one version."""

import re
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import aftercommit
import pytest
from aftercommit import Extensions, new_outbox

RELEASED = Path(__file__).parents[1] / "released"
LAST = sorted(RELEASED.glob("*/aftercommit-*.whl"))[-1]
FIELD = re.compile(r"^    (\w+): ", re.MULTILINE)
SETTINGS = re.compile(r"aftercommit/(?:[\w/]*/)?settings\.py")


def test_each_public_name_of_the_last_release_is_still_there() -> None:
    """An application imports it when it starts."""
    listed = ZipFile(LAST).read("aftercommit/__init__.pyi").decode()
    names = {*re.findall(r" as (\w+)|^    (\w+),$", listed, re.MULTILINE)}
    public = {name for pair in names for name in pair if name}

    assert len(public) > 30
    assert [name for name in sorted(public) if not hasattr(aftercommit, name)] == []


def test_each_setting_of_the_last_release_is_still_there() -> None:
    """An unknown variable is ignored, so anyone who sets it would not notice."""
    with ZipFile(LAST) as last:
        files = [name for name in last.namelist() if SETTINGS.fullmatch(name)]
        before = {each for file in files for each in FIELD.findall(last.read(file).decode())}
    now = {
        each
        for file in Path(aftercommit.__path__[0]).rglob("settings.py")
        for each in FIELD.findall(file.read_text())
    }

    assert len(before) > 20
    assert before - now == set()


def test_each_extension_of_the_last_release_is_still_there() -> None:
    """Its class is imported by its name, from a folder that is called like the extra."""
    pattern = r"aftercommit/extensions/(\w+)/__init__\.py"
    found = [re.fullmatch(pattern, name) for name in ZipFile(LAST).namelist()]
    extensions = {each[1] for each in found if each}

    assert len(extensions) > 5
    for name in extensions:
        offered = vars(import_module(f"aftercommit.extensions.{name}"))
        assert [each for each in offered if each.lower() == f"{name}extension"], name


def test_what_has_another_name_now_says_which() -> None:
    """One version before it goes; what the others warn of is in the tests of what they are."""
    with (
        pytest.warns(DeprecationWarning, match="use new_delivery_store"),
        pytest.raises(AttributeError),
    ):
        new_outbox(None, None)  # no database: the warning comes first
    with pytest.warns(DeprecationWarning, match="give App a list of extensions"):
        assert Extensions([]) == ()
