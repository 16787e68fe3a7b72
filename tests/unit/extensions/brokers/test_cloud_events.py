"""What others may send, and what they are sent: CloudEvents."""

import json
from dataclasses import asdict, replace
from uuid import UUID, uuid4

import pytest
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import InvalidPayload
from aftercommit.extensions.brokers.cloud_events import MAX_MESSAGE_BYTES, to_cloud_event
from aftercommit.extensions.brokers.exceptions import MessageTooLarge, UnknownCommandType

from allocation.domain.commands import ChangeEmail, Command
from tests.builders import (
    CODEC,
    a_batch,
    a_registration,
    a_user_id,
    a_user_registered,
    an_envelope,
    from_cloud_event,
)

ORDER = ChangeEmail(user_id=a_user_id(), new_email="i@example.com")


def a_user_message(command: Command = ORDER, /, **attributes: object) -> bytes:
    type_ = CODEC.name_of(type(command))
    message = {"specversion": "1.0", "id": "m1", "source": "/shop", "type": type_}
    return json.dumps({**message, "data": asdict(command), **attributes}, default=str).encode()  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "command",
    [
        a_registration(),
        ChangeEmail(user_id=a_user_id(), new_email="i@example.com"),
        a_batch(),
    ],
)
def test_each_command_can_be_received(command: Command) -> None:
    """With what it is recognized by, and what it belongs to."""
    correlation_id = uuid4()

    found, received = from_cloud_event(a_user_message(command, correlationid=correlation_id))

    assert (found, received) == (command, MessageOrigin(source="/shop", id="m1"))
    assert received.correlation_id == correlation_id


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_goes_on_through_a_broker() -> None:
    """In with a command, out with an event: CloudEvents' extension for distributed tracing."""
    envelope = an_envelope(a_user_registered())
    traced = replace(envelope, context=replace(envelope.context, traceparent=TRACEPARENT))

    _, received = from_cloud_event(a_user_message(traceparent=TRACEPARENT))
    published = json.loads(to_cloud_event(traced))

    assert (received.traceparent, published["traceparent"]) == (TRACEPARENT, TRACEPARENT)
    assert "traceparent" not in json.loads(to_cloud_event(envelope))


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "seven",
        f"{TRACEPARENT}-01",
        "\0",
        "ж" * 10_000,
        f"ff{TRACEPARENT[2:]}",  # W3C forbids this version, and ids of zeros
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_a_broken_trace_context_is_ignored(broken: str) -> None:
    """It says nothing about the command, and would be stored with every event."""
    found, received = from_cloud_event(a_user_message(traceparent=broken))

    assert (found, received.traceparent) == (ORDER, None)


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
    with pytest.raises(InvalidPayload):
        from_cloud_event(a_user_message(**attributes))


@pytest.mark.parametrize("text", ["x" * 500, "ж" * 250, "\U0001f600" * 125])
def test_an_id_may_have_500_bytes(text: str) -> None:
    """As many as every database takes, in any script."""
    _, received = from_cloud_event(a_user_message(id=text, source=text))

    assert received == MessageOrigin(source=text, id=text)


def test_what_is_longer_than_any_command_is_not_decoded() -> None:
    """Looking into it could cost more than reading it: names with thousands of marks, for one."""
    message = a_user_message()

    from_cloud_event(message.ljust(MAX_MESSAGE_BYTES))
    with pytest.raises(MessageTooLarge, match="65,537 bytes; a command has at most 65,536"):
        from_cloud_event(message.ljust(MAX_MESSAGE_BYTES + 1))


def test_an_event_is_no_command() -> None:
    """Nobody else may say what happened here."""
    with pytest.raises(UnknownCommandType, match="'user_registered'"):
        from_cloud_event(a_user_message(type="user_registered"))


def test_what_is_published_has_the_ids_as_text() -> None:
    """Extension attributes of CloudEvents are text or numbers."""
    envelope = an_envelope(a_user_registered())

    message = json.loads(to_cloud_event(envelope))

    assert UUID(message["id"]) == envelope.id
    assert UUID(message["correlationid"]) == envelope.context.correlation_id
    assert message["time"] == "2026-01-01T00:00:00Z"
