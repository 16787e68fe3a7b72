"""The AsyncAPI document, whatever is in it: its examples fit, and what lacks one is named."""

import json
from dataclasses import dataclass

import pytest
from aftercommit.errors import WiringError
from aftercommit.extensions.brokers import asyncapi
from jsonschema import Draft202012Validator

from allocation.domain.events import Event, UserId
from allocation.entrypoints.app import APP
from allocation.messages import ACCEPTED_FROM_BROKERS, CODEC, EXAMPLE_VALUES
from allocation.service_layer.handlers import HANDLERS as TABLE


def language() -> str:
    return asyncapi.published_language(APP)


def test_the_document_is_an_asyncapi_document() -> None:
    """As FastStream reads it, which makes such documents for its users."""
    from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema  # takes a second

    ApplicationSchema.model_validate_json(language())


@pytest.mark.parametrize(
    "name", [*map(CODEC.name_of, TABLE.public_events), *map(CODEC.name_of, ACCEPTED_FROM_BROKERS)]
)
def test_each_example_fits_its_schema(name: str) -> None:
    """An example that is wrong is worse than none."""
    document = json.loads(language())
    message = document["components"]["messages"][name]
    validator = Draft202012Validator(message["payload"])

    (example,) = message["examples"]
    validator.validate(example["payload"])
    broken = {**example["payload"], "data": {}}
    assert not validator.is_valid(broken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repainted(Event):
    """An event with fields that no other has."""

    user_id: UserId
    colour: str


def test_a_field_without_an_example_is_named() -> None:
    """Whoever adds a message learns here what it still lacks, and where to add it."""
    with pytest.raises(WiringError, match="fields of Repainted .*`EXAMPLE_VALUES`: colour$"):
        asyncapi.example_of(Repainted, EXAMPLE_VALUES)
