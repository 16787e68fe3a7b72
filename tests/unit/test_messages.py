"""The messages as others see them. That they stay so: `checks/test_message_compatibility.py`."""

import json
from typing import Any

import pytest
from aftercommit.extensions.brokers.asyncapi import published_language

from allocation.bootstrap import CODEC, describe
from allocation.domain.events import CouponAllocated, UserRegistered
from allocation.entrypoints.app import APP
from allocation.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS
from allocation.service_layer.handlers import HANDLERS
from tests.builders import a_redemption, a_user_id

ACCEPTED = {CODEC.name_of(each): each for each in ACCEPTED_FROM_BROKERS}
PUBLIC = {CODEC.name_of(each): each for each in HANDLERS.public_events}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The AsyncAPI document of what is published and accepted."""
    found: dict[str, Any] = json.loads(published_language(APP))
    return found


@pytest.fixture(scope="module")
def validator() -> Any:
    """The class that validates by a schema. Importing it takes a second, and reads a file."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator


def test_every_event_can_be_stored() -> None:
    """An event without a wire name would fail at its first commit."""
    assert set(CODEC.events.values()) == set(HANDLERS.events)


def test_an_old_event_is_read_as_the_event_of_today() -> None:
    """In version 1, users had no name; such events may be in the database for years."""
    user_id = a_user_id()
    old = json.dumps({"user_id": str(user_id), "email": "ivan@example.com"})

    event = CODEC.read("user_registered", 1, old, UserRegistered)

    assert event == UserRegistered(user_id=user_id, name="ivan", email="ivan@example.com")


def test_operators_read_what_an_event_is_about_and_no_code() -> None:
    """The code of a coupon is money, and lists and traces are read by many."""
    user_id = a_user_id()

    registered = UserRegistered(user_id=user_id, name="Иван", email="ivan@example.com")
    allocated = CouponAllocated(user_id=user_id, batch_reference="SPRING", code="SPRING-x7")

    assert describe(registered) == "Иван <ivan@example.com>"
    assert describe(allocated) == "SPRING"
    assert describe(a_redemption("SPRING-x7")) == ""


def test_every_public_event_and_every_accepted_command_is_in_it(
    document: dict[str, Any], validator: Any
) -> None:
    """With an example that fits. And no other: a coupon's code is sent to nobody."""
    public = {CODEC.name_of(each) for each in HANDLERS.public_events}
    channels, messages = document["channels"], document["components"]["messages"]

    assert channels["events"]["messages"].keys() == public == PUBLIC.keys()
    assert channels["commands"]["messages"].keys() == ACCEPTED.keys()
    assert public | ACCEPTED.keys() <= messages.keys()
    assert {"coupon_allocated", "redeem_coupon"}.isdisjoint(messages)
    for message in (messages[name] for name in public | ACCEPTED.keys()):
        validator(message["payload"]).validate(message["examples"][0]["payload"])
