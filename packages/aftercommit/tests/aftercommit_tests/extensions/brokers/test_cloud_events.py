"""What others may send, and what they are sent: CloudEvents. And the document that says so."""

import json
import os
import sys
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from aftercommit import MessageOrigin
from aftercommit.errors import InvalidPayload, WiringError
from aftercommit.extensions.brokers.asyncapi import published_language

from aftercommit_tests.builders import (
    ACCEPTED,
    a_message,
    a_thing_id,
    an_envelope,
    from_cloud_event,
)
from aftercommit_tests.environments import run
from aftercommit_tests.inside.brokers import MAX_MESSAGE_BYTES, example_of, to_cloud_event
from aftercommit_tests.inside.errors import MessageTooLarge
from aftercommit_tests.things.app import APP
from aftercommit_tests.things.domain import RenameThing
from aftercommit_tests.things.handlers import CODEC, HANDLERS

ORDER = RenameThing(thing_id=a_thing_id(), name="torch")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def a_message_with(**attributes: object) -> bytes:
    """Return `ORDER` as a message that has these attributes, too, or instead."""
    message = a_message("rename_thing", thing_id=str(ORDER.thing_id), name=ORDER.name)
    return json.dumps({**json.loads(message), **attributes}, default=str).encode()


def test_a_command_is_received_with_what_it_is_recognized_by_and_belongs_to() -> None:
    """A repetition is known by source and id; the sender's trace and correlation go on."""
    correlation_id = uuid4()

    found, received = from_cloud_event(
        a_message_with(correlationid=correlation_id, traceparent=TRACEPARENT)
    )

    assert (found, received) == (ORDER, MessageOrigin(source="/shop", id="m1"))
    assert (received.correlation_id, received.traceparent) == (correlation_id, TRACEPARENT)


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "seven",
        f"{TRACEPARENT}-01",
        "ж" * 10_000,
        f"ff{TRACEPARENT[2:]}",  # W3C forbids this version, and ids of zeros
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_a_broken_trace_context_is_ignored(broken: str) -> None:
    """It says nothing about the command, and would be stored with every event."""
    found, received = from_cloud_event(a_message_with(traceparent=broken))

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
        {"source": "/shop\u2028"},
        {"source": ""},
        {"time": "yesterday"},
        {"datacontenttype": "text/xml"},
        {"correlationid": "seven"},
        {"schemaversion": 0},
        {"schemaversion": 2},
        {"data": None},
        {"data": {"thing_id": 7, "name": "torch"}},
    ],
)
def test_what_is_no_cloud_event_of_ours_is_refused(attributes: dict[str, object]) -> None:
    """The sender finds it among the dead letters, with the reason."""
    with pytest.raises(InvalidPayload):
        from_cloud_event(a_message_with(**attributes))


@pytest.mark.parametrize("text", ["x" * 500, "ж" * 250, "\U0001f600" * 125])
def test_an_id_may_have_500_bytes(text: str) -> None:
    """As many as every database takes, in any script."""
    _, received = from_cloud_event(a_message_with(id=text, source=text))

    assert received == MessageOrigin(source=text, id=text)


def test_what_is_longer_than_any_command_is_not_decoded() -> None:
    """Looking into it could cost more than reading it: names with thousands of marks, for one."""
    message = a_message()

    from_cloud_event(message.ljust(MAX_MESSAGE_BYTES))
    with pytest.raises(MessageTooLarge, match="65,537 bytes; a command may have 65,536"):
        from_cloud_event(message.ljust(MAX_MESSAGE_BYTES + 1))


def test_a_repetition_is_known_by_what_it_says_whatever_the_program_reads_in_it() -> None:
    """A release that adds a field with a default would refuse what an earlier one has executed."""
    message = json.loads(a_message_with())
    turned = {**message, "data": dict(reversed(message["data"].items()))}
    unknown = {**message, "data": {**message["data"], "colour": "red"}}

    sums = [fingerprint_of(each) for each in (message, turned, unknown, unknown)]

    assert sums[0] == sums[1] != sums[2] == sums[3]
    assert sums[0].startswith("1:"), "the number of its form"


def fingerprint_of(message: object) -> str:
    """Return by what a repetition of a message is known."""
    return str(from_cloud_event(json.dumps(message).encode())[1].fingerprint)


SAID = """
from aftercommit.extensions.brokers.cloud_events import to_command
said = {"tags": {f"tag {n}" for n in range(9)}}
print(to_command(id="1", source="/shop", type="tag", schema_version=1, data=said, context=None,
    traceparent=None).decode())
"""


def test_a_command_says_the_same_in_each_process() -> None:
    """A set has another order in each; a repetition would be refused as another command."""
    seeds = [os.environ | {"PYTHONHASHSEED": str(seed)} for seed in (1, 2)]

    assert len({run(sys.executable, "-c", SAID, environment=each) for each in seeds}) == 1


def test_what_is_not_known_of_an_event_is_left_out() -> None:
    """As is the version of its shape, if that is the first: it is what others assume."""
    plain = an_envelope()
    traced = replace(
        plain, schema_version=2, context=replace(plain.context, traceparent=TRACEPARENT)
    )

    known, unknown = (json.loads(to_cloud_event(each)) for each in (traced, plain))

    assert (known["schemaversion"], known["traceparent"]) == (2, TRACEPARENT)
    assert known.keys() - unknown.keys() == {"schemaversion", "traceparent"}


def test_the_document_describes_all_that_is_published_and_accepted() -> None:
    """And nothing else; each example fits its schema. FastStream, which makes some, reads it."""
    from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema  # takes a second
    from jsonschema import Draft202012Validator  # so does this

    text = published_language(APP)

    ApplicationSchema.model_validate_json(text)
    document = json.loads(text)
    channels, messages = document["channels"], document["components"]["messages"]
    public = {CODEC.name_of(each) for each in HANDLERS.public_events}
    assert channels["events"]["messages"].keys() == public == {"thing_made", "thing_renamed"}
    assert channels["commands"]["messages"].keys() == ACCEPTED.keys()
    assert messages.pop("from.catalogue")["payload"]  # it has no example: others write it
    assert messages.keys() == public | ACCEPTED.keys()
    for name, message in messages.items():
        example = message["examples"][0]["payload"]
        schema = Draft202012Validator(message["payload"])
        schema.validate(example)
        assert not schema.is_valid({**example, "data": {}})
        if name in ACCEPTED:
            command, _ = from_cloud_event(json.dumps(example).encode())
            assert type(command) is ACCEPTED[name]


def test_a_field_without_an_example_is_named() -> None:
    """Anyone who adds one finds out what is missing. An id needs nobody to think of one."""
    with pytest.raises(WiringError, match="no value for fields of RenameThing: name$"):
        example_of(RenameThing, {})

    example = example_of(RenameThing, {"name": "lamp"})
    assert example == example_of(RenameThing, {"name": "lamp"})
    assert isinstance(example.thing_id, UUID)
    known = example_of(RenameThing, {"name": "lamp", "thing_id": (thing_id := a_thing_id())})
    assert known.thing_id == thing_id
