"""The wire format: versions, and what others may send."""

import json
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

import pytest

from allocation.adapters import wire
from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command, RegisterUser
from allocation.domain.events import UserRegistered
from allocation.domain.exceptions import InvalidPayload, UnknownCommandType, UnknownEventType
from allocation.service_layer.delivery import ReceivedMessage
from allocation.service_layer.handlers import COMMAND_HANDLERS
from tests.builders import a_user_id, an_envelope


def a_row(**changes: object) -> dict[str, Any]:
    return {**wire.to_row(an_envelope()), **changes}


def test_an_event_survives_being_stored() -> None:
    """What comes back is what went in."""
    envelope = an_envelope()

    assert wire.from_row(wire.to_row(envelope)) == envelope


def test_a_row_of_version_1_is_read_as_the_event_of_today() -> None:
    """An upcaster fills in what the old version lacked."""
    user_id = a_user_id()
    data = json.dumps({"user_id": str(user_id), "email": "ivan@example.com"})

    envelope = wire.from_row(a_row(schema_version=1, data=data))

    assert envelope.event == UserRegistered(user_id=user_id, name="ivan", email="ivan@example.com")
    assert wire.to_row(envelope)["schema_version"] == 2


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
        wire.from_row(a_row(**changes))

    assert problem in str(refusal.value)


def test_an_event_nobody_knows_is_refused() -> None:
    """It may be one of a newer program."""
    with pytest.raises(UnknownEventType, match="'user_vanished'"):
        wire.from_row(a_row(type="user_vanished"))


def a_message(command: Command, type_: str, **attributes: object) -> bytes:
    message = {"specversion": "1.0", "id": "m1", "source": "/shop", "type": type_}
    return json.dumps({**message, "data": asdict(command), **attributes}, default=str).encode()  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("type_", "command"),
    [
        ("register_user", RegisterUser(user_id=a_user_id(), name="Иван", email="i@example.com")),
        ("change_email", ChangeEmail(user_id=a_user_id(), new_email="i@example.com")),
        ("add_coupon_batch", AddCouponBatch(reference="WELCOME", quantity=10)),
    ],
)
def test_each_command_can_be_received(type_: str, command: Command) -> None:
    """With what it is recognized by, and what it belongs to."""
    correlation_id = uuid4()

    received = wire.from_cloud_event(a_message(command, type_, correlationid=correlation_id))

    assert received == (command, ReceivedMessage(source="/shop", id="m1"), correlation_id)


def test_every_command_has_a_wire_name() -> None:
    """Or it could only be given on the command line."""
    assert set(wire.COMMAND_TYPES.values()) == COMMAND_HANDLERS.keys()


@pytest.mark.parametrize(
    "attributes",
    [
        {"specversion": "0.3"},
        {"id": ""},
        {"id": 7},
        {"id": "x" * 501},
        {"id": "ж" * 251},
        {"source": "\U0001f600" * 126},
        {"id": "a\0b"},
        {"id": "a\x9bb"},
        {"id": "a\u202eb"},
        {"id": "a\u200bb"},
        {"id": "a\ud800b"},
        {"source": "\n"},
        {"source": "/shop\u2028"},
        {"source": ""},
        {"time": "yesterday"},
        {"datacontenttype": "text/xml"},
        {"correlationid": "seven"},
        {"schemaversion": 0},
        {"schemaversion": 2},
        {"data": None},
    ],
)
def test_what_is_no_cloud_event_of_ours_is_refused(attributes: dict[str, object]) -> None:
    """The sender finds it among the dead letters, with the reason."""
    command = AddCouponBatch(reference="WELCOME", quantity=10)

    with pytest.raises(InvalidPayload):
        wire.from_cloud_event(a_message(command, "add_coupon_batch", **attributes))


@pytest.mark.parametrize("text", ["x" * 500, "ж" * 250, "\U0001f600" * 125])
def test_an_id_may_have_500_bytes(text: str) -> None:
    """As many as every database takes, in any script."""
    command = AddCouponBatch(reference="WELCOME", quantity=10)
    message = a_message(command, "add_coupon_batch", id=text, source=text)

    assert wire.from_cloud_event(message)[1] == ReceivedMessage(source=text, id=text)


def test_an_event_is_no_command() -> None:
    """Nobody else may say what happened here."""
    command = AddCouponBatch(reference="WELCOME", quantity=10)

    with pytest.raises(UnknownCommandType, match="'user_registered'"):
        wire.from_cloud_event(a_message(command, "user_registered"))


def test_what_is_published_has_the_ids_as_text() -> None:
    """Extension attributes of CloudEvents are text or numbers."""
    envelope = an_envelope()

    message = json.loads(wire.to_cloud_event(envelope))

    assert UUID(message["id"]) == envelope.id
    assert UUID(message["correlationid"]) == envelope.cause.correlation_id
    assert message["time"] == "2026-01-01T00:00:00Z"
