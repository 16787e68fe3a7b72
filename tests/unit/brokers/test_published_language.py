"""The AsyncAPI document: complete and true. That it stays what it was: `test_language.py`."""

import json
from dataclasses import dataclass

import pytest
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from jsonschema import Draft202012Validator

from allocation.adapters import wire
from allocation.adapters.brokers import asyncapi
from allocation.adapters.brokers.cloud_events import from_cloud_event
from allocation.domain.events import Event, UserId
from allocation.publishing import public_events
from allocation.service_layer.exceptions import WiringError
from allocation.service_layer.handlers import EVENT_HANDLERS, publish_event


def language() -> str:
    return asyncapi.published_language(public_events())


def test_the_document_is_an_asyncapi_document() -> None:
    """As FastStream reads it, which makes such documents itself."""
    ApplicationSchema.model_validate_json(language())


def test_every_public_event_and_every_command_is_in_it() -> None:
    """And the private one is not."""
    document = json.loads(language())

    public = {
        wire.wire_name(e) for e, handlers in EVENT_HANDLERS.items() if publish_event in handlers
    }
    assert document["channels"]["events"]["messages"].keys() == public
    assert "coupon_allocated" not in public
    assert document["channels"]["commands"]["messages"].keys() == wire.COMMAND_TYPES.keys()
    messages = document["components"]["messages"]
    for reference in ("events", "commands"):
        assert document["channels"][reference]["messages"].keys() <= messages.keys()


@pytest.mark.parametrize("name", [*wire.EVENT_TYPES, *wire.COMMAND_TYPES])
def test_each_example_fits_its_schema(name: str) -> None:
    """An example that is wrong is worse than none."""
    document = asyncapi.document(list(wire.EVENT_TYPES.values()))
    message = document["components"]["messages"][name]
    validator = Draft202012Validator(message["payload"])

    (example,) = message["examples"]
    validator.validate(example["payload"])
    broken = {**example["payload"], "data": {}}
    assert not validator.is_valid(broken)


@pytest.mark.parametrize("name", wire.COMMAND_TYPES)
def test_the_example_of_a_command_can_be_sent(name: str) -> None:
    """Copying it is how people begin."""
    messages = json.loads(language())["components"]["messages"]
    (example,) = messages[name]["examples"]

    command, _ = from_cloud_event(json.dumps(example["payload"]).encode())

    assert type(command) is wire.COMMAND_TYPES[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repainted(Event):
    """An event with fields that no other has."""

    user_id: UserId
    colour: str


def test_a_field_without_an_example_is_named() -> None:
    """Whoever adds a message learns here what it still lacks, and where to add it."""
    with pytest.raises(WiringError, match="fields of Repainted without .* FIELDS .*: colour$"):
        asyncapi.example_of(Repainted)
