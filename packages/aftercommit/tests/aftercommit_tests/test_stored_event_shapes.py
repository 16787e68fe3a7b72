"""What is stored can be read by the next version: a test of the application says what could not."""

import json
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from aftercommit import App, Codec, testing

from aftercommit_tests.things.app import APP

FIELDS: Mapping[str, Any] = {"name": str, "size": int, "default": str}
UPDATED = r"events\.json was brought up to date: look at it, and commit it"


def app(
    name: str = "Sold",
    fields: Mapping[str, Any] = FIELDS,
    /,
    *,
    old: tuple[int, ...] = (),
    alias: str | None = None,
    **optional: type,
) -> App[Any]:
    """Return an application with one event, with upcasters for some `old` versions."""
    more = [(each, type_, field(default=type_())) for each, type_ in optional.items()]
    event = make_dataclass(name, [*fields.items(), *more], kw_only=True)
    upcasters: dict[tuple[str, int], Callable[[Any], Any]] = {("sold", n): dict for n in old}
    aliases = {event: alias} if alias else {}
    codec = Codec[Any](source="/s", events=[event], upcasters=upcasters, aliases=aliases)
    return APP.with_parts(codec=codec)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file with the shapes that were released."""
    file = tmp_path / "golden" / "events.json"
    with pytest.raises(AssertionError, match=UPDATED):
        testing.check_stored_events(app(), file)
    testing.check_stored_events(app(), file)
    return file


READABLE = {
    "a new field with a default": app(note=str),
    "a default that a field has now": app("Sold", {"size": int, "default": str}, name=str),
    "another field, and an upcaster": app("Sold", {"label": str}, old=(1,)),
    "another class with the old name": app("Delivered", FIELDS, alias="sold"),
}


@pytest.mark.parametrize("change", READABLE)
def test_a_change_with_which_all_can_be_read_is_written_into_the_file(
    change: str, file: Path
) -> None:
    """It is committed with the change, and protects what is new."""
    before = file.read_text()

    if "class" not in change:
        with pytest.raises(AssertionError, match=UPDATED):
            testing.check_stored_events(READABLE[change], file)
        assert file.read_text() != before

    testing.check_stored_events(READABLE[change], file)


UNREADABLE = {
    "size is gone": app("Sold", {"name": str, "default": str}),
    "label is new and has no default": app("Sold", {**FIELDS, "label": str}),
    "size has another type": app("Sold", {**FIELDS, "size": Literal[1, 2]}),
    "sold is gone, and databases may have such events": app("Bought"),
}


@pytest.mark.parametrize("problem", UNREADABLE)
def test_a_change_with_which_something_could_not_be_read_is_refused(
    problem: str, file: Path
) -> None:
    """The file stays as it is. An event that was never released may be changed nevertheless."""
    before = file.read_text()

    with pytest.raises(AssertionError) as refused:
        testing.check_stored_events(UNREADABLE[problem], file)

    assert problem in str(refused.value)
    assert ("give the new field a default" in str(refused.value)) is ("no default" in problem)
    assert "never released" in str(refused.value)
    assert file.read_text() == before
    file.write_text("{}")  # its only entry is deleted, as the sentence says
    with pytest.raises(AssertionError, match=UPDATED):
        testing.check_stored_events(UNREADABLE[problem], file)


def test_the_sentence_has_the_upcaster_to_write(file: Path) -> None:
    """Of the version that is stored."""
    with pytest.raises(AssertionError, match=r'upcasters={\("sold", 1\): lambda old: '):
        testing.check_stored_events(UNREADABLE["size is gone"], file)


def test_an_upcaster_does_not_go(file: Path) -> None:
    """What it reads is in databases for years."""
    with pytest.raises(AssertionError, match=UPDATED):
        testing.check_stored_events(app(old=(1,)), file)

    with pytest.raises(AssertionError, match="sold has version 1, and the stored ones have vers"):
        testing.check_stored_events(app(), file)


def test_parts_of_events_are_compared_too(tmp_path: Path) -> None:
    """They are stored in them."""
    file = tmp_path / "events.json"
    line = make_dataclass("Line", [("article", str)])
    other = make_dataclass("Line", [("article", str), ("pieces", int)])
    kind, other_kind = Literal["a"], Literal["b"]
    released = app("Sold", {"lines": list[line], "kind": kind})  # type: ignore[valid-type]
    changed = app("Sold", {"lines": list[other], "kind": other_kind})  # type: ignore[valid-type]
    with pytest.raises(AssertionError, match=UPDATED):
        testing.check_stored_events(released, file)
    assert "Line" in json.loads(file.read_text())["sold 1"]["$defs"]

    with pytest.raises(
        AssertionError, match=r"kind has another type, Line\.pieces is new and has no default"
    ):
        testing.check_stored_events(changed, file)
