"""The wire format: versions, and what others may send."""

import json
from typing import Any

import pytest

from allocation.adapters import serialization
from allocation.adapters.exceptions import InvalidPayload, UnknownEventType
from allocation.domain.events import UserRegistered
from tests.builders import a_user_id, an_envelope


def a_row(**changes: object) -> dict[str, Any]:
    return {**serialization.to_row(an_envelope()), **changes}


def test_an_event_survives_being_stored() -> None:
    """What comes back is what went in."""
    envelope = an_envelope()

    assert serialization.from_row(serialization.to_row(envelope)) == envelope


def test_a_row_of_version_1_is_read_as_the_event_of_today() -> None:
    """An upcaster fills in what the old version lacked."""
    user_id = a_user_id()
    data = json.dumps({"user_id": str(user_id), "email": "ivan@example.com"})

    envelope = serialization.from_row(a_row(schema_version=1, data=data))

    assert envelope.event == UserRegistered(user_id=user_id, name="ivan", email="ivan@example.com")
    assert serialization.to_row(envelope)["schema_version"] == 2


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 3}, "its version 3 is not known, only those up to 2"),
        ({"schema_version": 0}, "its version 0 is not known"),
        ({"schema_version": 1, "data": "{}"}, "version 1: 'email'"),
        ({"schema_version": 1, "data": '{"email": 7}'}, "version 1: Expected `str`, got `int`"),
        ({"schema_version": 1, "data": "[]"}, "Expected `object`, got `array`"),
        ({"schema_version": 2, "data": "{}"}, "Object missing required field"),
    ],
)
def test_a_row_that_fits_no_version_is_refused(changes: dict[str, Any], problem: str) -> None:
    """By name and reason, so that somebody can decide about it."""
    with pytest.raises(InvalidPayload, match="^invalid payload of user_registered: ") as refusal:
        serialization.from_row(a_row(**changes))

    assert problem in str(refusal.value)


def test_an_event_nobody_knows_is_refused() -> None:
    """It may be one of a newer program."""
    with pytest.raises(UnknownEventType, match="'user_vanished'"):
        serialization.from_row(a_row(type="user_vanished"))
