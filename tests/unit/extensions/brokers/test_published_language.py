"""The AsyncAPI document: complete and true. That it stays what it was: `test_language.py`."""

import json
from dataclasses import dataclass

import pytest
from jsonschema import Draft202012Validator

from allocation.adapters import serialization
from allocation.domain.events import Event, UserId
from allocation.extensions.brokers import asyncapi
from allocation.extensions.brokers.cloud_events import ACCEPTED, from_cloud_event
from allocation.publish_handlers import public_events
from allocation.service_layer.exceptions import WiringError
from allocation.service_layer.handlers import EVENT_HANDLERS, publish_event


def language() -> str:
    return asyncapi.published_language(public_events())


def test_the_document_is_an_asyncapi_document() -> None:
    """As FastStream reads it, which makes such documents for its users."""
    from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema  # takes a second

    ApplicationSchema.model_validate_json(language())


def test_every_public_event_and_every_accepted_command_is_in_it() -> None:
    """And the private ones are not."""
    document = json.loads(language())

    public = {
        serialization.wire_name(e)
        for e, handlers in EVENT_HANDLERS.items()
        if publish_event in handlers
    }
    assert document["channels"]["events"]["messages"].keys() == public
    assert "users_imported" not in public
    assert document["channels"]["commands"]["messages"].keys() == ACCEPTED.keys()
    messages = document["components"]["messages"]
    for reference in ("events", "commands"):
        assert document["channels"][reference]["messages"].keys() <= messages.keys()


@pytest.mark.parametrize("name", [*map(serialization.wire_name, public_events()), *ACCEPTED])
def test_each_example_fits_its_schema(name: str) -> None:
    """An example that is wrong is worse than none."""
    document = json.loads(language())
    message = document["components"]["messages"][name]
    validator = Draft202012Validator(message["payload"])

    (example,) = message["examples"]
    validator.validate(example["payload"])
    broken = {**example["payload"], "data": {}}
    assert not validator.is_valid(broken)


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_example_of_a_command_can_be_sent(name: str) -> None:
    """Copying it is how people begin."""
    messages = json.loads(language())["components"]["messages"]
    (example,) = messages[name]["examples"]

    command, _ = from_cloud_event(json.dumps(example["payload"]).encode())

    assert type(command) is ACCEPTED[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repainted(Event):
    """An event with fields that no other has."""

    user_id: UserId
    colour: str


def test_a_field_without_an_example_is_named() -> None:
    """Whoever adds a message learns here what it still lacks, and where to add it."""
    with pytest.raises(WiringError, match="fields of Repainted .* EXAMPLE_VALUES .*: colour$"):
        asyncapi.example_of(Repainted)
