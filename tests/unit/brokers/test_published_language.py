"""The AsyncAPI document: complete, true, and never changed without a new version."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from jsonschema import Draft202012Validator

from allocation.adapters import wire
from allocation.adapters.brokers import asyncapi
from allocation.adapters.brokers.cloud_events import from_cloud_event
from allocation.bootstrap import public_events

GOLDEN = Path(__file__).parents[3] / "docs" / "asyncapi.json"

Json = dict[str, Any]


def language() -> str:
    return asyncapi.published_language(public_events())


def changed_without_a_new_version(old: Json, new: Json) -> list[str]:
    """Return the messages whose shape is another one under the same version, and those missing."""

    def shapes(document: Json) -> Iterator[tuple[tuple[str, int], Json]]:
        for name, message in document["components"]["messages"].items():
            properties = message["payload"]["properties"]
            yield (name, properties["schemaversion"]["const"]), message["payload"]

    now = dict(shapes(new))
    names = {name for name, _ in now}
    return [
        name
        for (name, version), shape in shapes(old)
        if name not in names or now.get((name, version), shape) != shape
    ]


def test_the_published_language_is_the_one_that_was_released() -> None:
    """Others rely on it. `allocation asyncapi > docs/asyncapi.json` is only half of a change."""
    golden, document = (
        json.loads(GOLDEN.read_text()),
        json.loads(language()),
    )

    changed = changed_without_a_new_version(golden, document)
    assert changed == [], "give these a new version: an entry in UPCASTERS of wire.py"
    assert document == golden, "run: allocation asyncapi > docs/asyncapi.json"


def test_a_field_that_comes_or_goes_is_a_change() -> None:
    """The test above has to notice it."""
    golden = json.loads(GOLDEN.read_text())
    changed = json.loads(GOLDEN.read_text())
    message = changed["components"]["messages"]["user_registered"]["payload"]["properties"]
    message["data"]["properties"]["age"] = {"type": "integer"}
    assert changed_without_a_new_version(golden, changed) == ["user_registered"]

    del message["data"]["properties"]["age"]
    assert changed_without_a_new_version(golden, changed) == []

    del message["data"]["properties"]["name"]
    assert changed_without_a_new_version(golden, changed) == ["user_registered"]

    message["schemaversion"]["const"] += 1
    assert changed_without_a_new_version(golden, changed) == []

    del changed["components"]["messages"]["user_registered"]
    assert changed_without_a_new_version(golden, changed) == ["user_registered"]


def test_the_document_is_an_asyncapi_document() -> None:
    """As FastStream reads it, which makes such documents itself."""
    ApplicationSchema.model_validate_json(language())


def test_every_public_event_and_every_command_is_in_it() -> None:
    """And the private one is not."""
    document = json.loads(language())

    assert set(document["channels"]["events"]["messages"]) == {
        "user_registered",
        "email_changed",
        "out_of_coupons",
    }
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

    command, _, _ = from_cloud_event(json.dumps(example["payload"]).encode())

    assert type(command) is wire.COMMAND_TYPES[name]
