"""The language others rely on is what it was: what was written is read, now and next year."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from tools import message_compatibility
from tools.message_compatibility import (
    GOLDEN,
    STALE,
    STORED,
    GoldenFile,
    broken_in_store,
    errors_gone,
)
from tools.openapi_compatibility import Json, shape

FIRST = next(iter(STORED.read()))  # wire name and version: those of any event
NAME, _, VERSION = FIRST.rpartition(" ")
NEXT = int(VERSION) + 1


def changed(golden: Json) -> Json:
    """Return the same, and one message has a field more."""
    new = deepcopy(golden)
    new[FIRST]["properties"]["age"] = {"type": "integer"}
    return new


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.path.name)
def test_every_promise_is_kept(file: GoldenFile) -> None:
    """Others wrote programs that rely on it, and rows outlive programs."""
    assert file.broken() == []
    assert not file.is_stale(), f"{file.name} is not what the program says now; {STALE}"


def test_a_changed_shape_needs_a_new_version() -> None:
    """The sentence says where to give it one; the new version's upcaster reads the old ones."""
    old = STORED.read()
    new = changed(old)

    [sentence] = broken_in_store(old, new)

    assert sentence == (
        f"{NAME} has another shape, and still version {VERSION}: give it a new version, by an"
        f' upcaster ("{NAME}", {VERSION}) in UPCASTERS of src/allocation/bootstrap.py'
    )
    new[f"{NAME} {NEXT}"] = new.pop(FIRST)
    assert list(broken_in_store(old, new)) == []
    [sentence] = broken_in_store(new, old)
    assert sentence.startswith(f"{NAME} has version {VERSION}, after {NEXT}: bring back its UPC")


def test_a_message_does_not_go() -> None:
    """Renaming its class takes it away, too."""
    old = STORED.read()
    new = {name: form for name, form in old.items() if name != FIRST}

    [sentence] = broken_in_store(old, new)
    assert sentence.startswith(f"{NAME} is gone, and others rely on it: bring it back")
    assert list(broken_in_store(new, old)) == []


def test_an_error_keeps_its_name() -> None:
    """Anyone who reads dead letters goes by it."""
    page = message_compatibility.ERRORS.read_text()
    assert "`invalid-value`" in page
    assert errors_gone(page) == []

    [sentence] = errors_gone(page.replace("`invalid-value`", "`no-such-value`"))
    assert sentence.startswith("the error no-such-value is gone, and others rely on its name")


def test_what_is_said_for_people_may_change() -> None:
    """A docstring that is better now breaks no program."""
    field = {"properties": {"description": {"type": "string"}}}
    said = {"description": "old", "examples": [1], "items": [{"summary": "old"}]}

    assert shape({**said, **field}) == {"items": [{}], **field}


def test_a_file_is_brought_up_to_date_but_no_promise_is_overwritten(tmp_path: Path) -> None:
    """Or one command would do away with what the file is there for."""

    def written(name: str, change: Callable[[Json], object]) -> GoldenFile:
        golden = STORED.read()
        change(golden)
        file = GoldenFile(tmp_path / name, STORED.make, broken_in_store)
        file.path.write_text(json.dumps(golden))
        return file

    stale = written("stale", lambda golden: golden.pop(FIRST))
    broken = written("broken", lambda golden: golden.update(changed(golden)))

    refusal = message_compatibility.write_all([stale, broken])

    assert str(refusal).splitlines()[0] == "nothing is written:"
    assert f"{NAME} has another shape" in str(refusal)
    assert f"\n    git checkout HEAD -- {broken.name}\n" in str(refusal)
    assert stale.is_stale()
    assert broken.read() == changed(STORED.read())
    assert message_compatibility.write_all([stale]) is None
    assert stale.read() == STORED.make()


def test_an_attribute_that_nobody_needs_may_be_added() -> None:
    """CloudEvents wants receivers to ignore those that they do not know. Of the data it is not."""
    [asyncapi] = [file for file in GOLDEN if file.path.name == "asyncapi.json"]
    old = asyncapi.read()
    new, needed = deepcopy(old), deepcopy(old)
    first = "user_registered"
    new["components"]["messages"][first]["payload"]["properties"]["colour"] = {}
    message = needed["components"]["messages"][first]["payload"]
    message["properties"]["colour"] = {}
    message["required"].append("colour")

    assert list(message_compatibility.broken_in_public(old, new)) == []
    [gone] = message_compatibility.broken_in_public(new, old)
    [sentence] = message_compatibility.broken_in_public(old, needed)
    assert "another shape" in gone
    assert "another shape" in sentence
