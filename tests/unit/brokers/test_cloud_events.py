"""What others may send, and what they are sent: CloudEvents."""

import json
from dataclasses import asdict, replace
from uuid import UUID, uuid4

import pytest

from allocation.adapters.brokers.cloud_events import from_cloud_event, to_cloud_event
from allocation.adapters.brokers.exceptions import UnknownCommandType
from allocation.adapters.exceptions import InvalidPayload
from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command, RegisterUser
from allocation.service_layer.envelopes import ReceivedMessage
from tests.builders import a_user_id, an_envelope


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

    found, received = from_cloud_event(a_message(command, type_, correlationid=correlation_id))

    assert (found, received) == (command, ReceivedMessage(source="/shop", id="m1"))
    assert received.correlation_id == correlation_id


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_goes_on_through_a_broker() -> None:
    """In with a command, out with an event: CloudEvents' extension for distributed tracing."""
    command, envelope = AddCouponBatch(reference="WELCOME", quantity=10), an_envelope()
    traced = replace(envelope, context=replace(envelope.context, traceparent=TRACEPARENT))

    _, received = from_cloud_event(a_message(command, "add_coupon_batch", traceparent=TRACEPARENT))
    published = json.loads(to_cloud_event(traced))

    assert (received.traceparent, published["traceparent"]) == (TRACEPARENT, TRACEPARENT)
    assert "traceparent" not in json.loads(to_cloud_event(envelope))


@pytest.mark.parametrize("broken", ["", "seven", f"{TRACEPARENT}-01", "\0", "ж" * 10_000])
def test_a_broken_trace_context_is_ignored(broken: str) -> None:
    """It says nothing about the command, and would be stored with every event."""
    command = AddCouponBatch(reference="WELCOME", quantity=10)

    found, received = from_cloud_event(a_message(command, "add_coupon_batch", traceparent=broken))

    assert (found, received.traceparent) == (command, None)


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
        from_cloud_event(a_message(command, "add_coupon_batch", **attributes))


@pytest.mark.parametrize("text", ["x" * 500, "ж" * 250, "\U0001f600" * 125])
def test_an_id_may_have_500_bytes(text: str) -> None:
    """As many as every database takes, in any script."""
    command = AddCouponBatch(reference="WELCOME", quantity=10)
    message = a_message(command, "add_coupon_batch", id=text, source=text)

    assert from_cloud_event(message)[1] == ReceivedMessage(source=text, id=text)


def test_an_event_is_no_command() -> None:
    """Nobody else may say what happened here."""
    command = AddCouponBatch(reference="WELCOME", quantity=10)

    with pytest.raises(UnknownCommandType, match="'user_registered'"):
        from_cloud_event(a_message(command, "user_registered"))


def test_what_is_published_has_the_ids_as_text() -> None:
    """Extension attributes of CloudEvents are text or numbers."""
    envelope = an_envelope()

    message = json.loads(to_cloud_event(envelope))

    assert UUID(message["id"]) == envelope.id
    assert UUID(message["correlationid"]) == envelope.context.correlation_id
    assert message["time"] == "2026-01-01T00:00:00Z"
