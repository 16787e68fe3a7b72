"""The AsyncAPI document: complete and true. That it stays what it was: `test_language.py`."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from aftercommit.envelopes import Envelope
from aftercommit.errors import WiringError
from aftercommit.extensions.brokers import asyncapi
from aftercommit.extensions.brokers.cloud_events import to_cloud_event
from aftercommit.handler_table import PUBLISH
from jsonschema import Draft202012Validator

from allocation.domain.commands import ChangeEmail, RecordBounce
from allocation.domain.events import CouponAllocated, Event, UserId
from allocation.entrypoints.allocation import Allocation
from allocation.messages import EXAMPLE_VALUES
from allocation.service_layer.handlers import HANDLERS as TABLE
from tests.builders import (
    ACCEPTED,
    CODEC,
    FakeApplication,
    a_batch,
    a_redemption,
    a_registration,
    a_user_id,
    from_cloud_event,
)


def language() -> str:
    return asyncapi.published_language(Allocation())


def test_the_document_is_an_asyncapi_document() -> None:
    """As FastStream reads it, which makes such documents for its users."""
    from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema  # takes a second

    ApplicationSchema.model_validate_json(language())


def test_every_public_event_and_every_accepted_command_is_in_it() -> None:
    """And the private ones are not."""
    document = json.loads(language())

    public = {CODEC.name_of(e) for e, handlers in TABLE.events.items() if PUBLISH in handlers}
    assert document["channels"]["events"]["messages"].keys() == public
    assert "users_imported" not in public
    assert document["channels"]["commands"]["messages"].keys() == ACCEPTED.keys()
    messages = document["components"]["messages"]
    for reference in ("events", "commands"):
        assert document["channels"][reference]["messages"].keys() <= messages.keys()


@pytest.mark.parametrize("name", [*map(CODEC.name_of, TABLE.public_events), *ACCEPTED])
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


HAPPENING = {
    "coupon_denied",
    "coupon_redeemed",
    "email_bounced",
    "email_changed",
    "user_registered",
}


async def happened() -> list[Envelope]:
    """Return at least one event of each of these types, as it really comes about."""
    bus, user_id = FakeApplication().bus, a_user_id()
    events: list[Envelope] = []
    for command in (
        a_batch(reference="WELCOME", quantity=1),
        a_registration(user_id=user_id),
        a_registration(email="too-late@example.com"),
        ChangeEmail(user_id=user_id, new_email="ivan@example.org"),
        RecordBounce(user_id=user_id, email="ivan@example.org"),
    ):
        events += (await bus.handle(command)).events
    codes = [each.event.code for each in events if isinstance(each.event, CouponAllocated)]
    return [*events, *(await bus.handle(a_redemption(codes[0]))).events]


def about(message: Any) -> str:
    """Return the subject of a message, and whether it is the user in it, whose id is random."""
    return "the user" if message["subject"] == message["data"]["user_id"] else message["subject"]


@pytest.mark.anyio
async def test_the_subject_in_an_example_is_what_is_really_sent() -> None:
    """Others choose by it what they read; on Kafka, it is the key."""
    public = [each for each in await happened() if type(each.event) in TABLE.public_events]
    sent = [json.loads(to_cloud_event(envelope)) for envelope in public]

    messages = json.loads(language())["components"]["messages"]
    assert {message["type"] for message in sent} >= HAPPENING
    for message in sent:
        assert about(messages[message["type"]]["examples"][0]["payload"]) == about(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repainted(Event):
    """An event with fields that no other has."""

    user_id: UserId
    colour: str


def test_a_field_without_an_example_is_named() -> None:
    """Whoever adds a message learns here what it still lacks, and where to add it."""
    with pytest.raises(WiringError, match="fields of Repainted .*`EXAMPLE_VALUES`: colour$"):
        asyncapi.example_of(Repainted, EXAMPLE_VALUES)
