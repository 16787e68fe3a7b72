"""The wire format: versions, and what others may send."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from aftercommit import Codec, Envelope
from aftercommit.errors import InvalidPayload, UnknownEventType, WiringError

from aftercommit_tests.builders import a_thing_id, an_envelope
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import EVENTS

if TYPE_CHECKING:
    from uuid import UUID


@dataclass
class ThingSold:
    """An event with a field whose type is there for type checkers only."""

    thing_id: "UUID"


CODEC = Codec(
    source="/things",
    events=EVENTS,
    # in version 1, a thing had a title
    upcasters={("thing_made", 1): lambda old: {"name": old["title"], "thing_id": old["thing_id"]}},
)


@dataclass
class ThingCreated:
    """What `ThingMade` is called in a later version of the program."""

    thing_id: str


def a_thing_made() -> Envelope:
    return replace(an_envelope(), schema_version=2)


def a_row(**changes: object) -> dict[str, Any]:
    return {**CODEC.to_row(a_thing_made()), **changes}


def test_a_row_of_version_1_is_read_as_the_event_of_today() -> None:
    """An upcaster fills in what the old version lacked."""
    thing_id = a_thing_id()
    data = f'{{"thing_id": "{thing_id}", "title": "lamp"}}'

    envelope = CODEC.from_row(a_row(schema_version=1, data=data))

    assert envelope.event == ThingMade(thing_id=thing_id, name="lamp")
    assert envelope.schema_version == CODEC.versions["thing_made"] == 2  # what others are told


def test_a_renamed_class_keeps_its_wire_name() -> None:
    """So what is stored is still read, and others notice nothing."""
    codec = Codec(source="/things", events=[ThingCreated], aliases={ThingCreated: "thing_made"})
    stored = a_row(schema_version=1, data='{"thing_id": "7"}')

    assert codec.from_row(stored).event == ThingCreated(thing_id="7")
    assert codec.written[ThingCreated] == ("thing_made", 1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 3}, "its version 3 is not known, only those up to 2"),
        ({"schema_version": 0}, "its version 0 is not known"),
        ({"schema_version": 1, "data": "{}"}, "version 1: 'title'"),
        (
            {"schema_version": 1, "data": '{"thing_id": "", "title": 7}'},
            "version 1: Expected `str`, got `int`",
        ),
        ({"schema_version": 1, "data": "[]"}, "Expected `object`, got `array`"),
        (
            {"schema_version": 2, "data": "{}"},
            "Object missing required field `thing_id`; if its class has changed,"
            " give the Codec an upcaster for ('thing_made', 2)",
        ),
    ],
)
def test_a_row_that_fits_no_version_is_refused(changes: dict[str, Any], problem: str) -> None:
    """By name and reason, so that somebody can decide about it."""
    with pytest.raises(InvalidPayload, match="^invalid payload of thing_made: ") as refusal:
        CODEC.from_row(a_row(**changes))

    assert problem in str(refusal.value)


def test_an_event_nobody_knows_is_refused() -> None:
    """It may be one of a newer program."""
    with pytest.raises(UnknownEventType, match="'thing_vanished'"):
        CODEC.from_row(a_row(type="thing_vanished"))


def test_a_type_that_is_imported_for_checkers_only_is_named_as_such() -> None:
    """JSON holds it well; what is missing is the import."""
    told = r"not imported when the program runs: ThingSold \(name 'UUID' is not defined\)"
    with pytest.raises(WiringError, match=told):
        Codec(source="/things", events=[ThingSold])
