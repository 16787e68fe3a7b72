"""The messages as they are really sent, and the document that says what they are like."""

import json
from typing import Any

import pytest
from aftercommit import Application, Envelope
from aftercommit.extensions.brokers.asyncapi import published_language
from aftercommit.extensions.brokers.cloud_events import to_cloud_event

from allocation.bootstrap import CODEC
from allocation.domain.commands import RecordBounce
from allocation.domain.events import CouponAllocated
from allocation.entrypoints.app import APP
from allocation.service_layer.handlers import HANDLERS
from tests.builders import a_batch, a_change, a_redemption, a_registration

PUBLIC = {CODEC.name_of(each) for each in HANDLERS.public_events}


async def events_of_each_type(app: Application) -> list[Envelope]:
    """Return at least one of each public event, as it really comes about."""
    user, events = a_registration(), list[Envelope]()
    for command in (
        a_batch(quantity=1),
        user,
        a_registration(email="too-late@example.com"),
        a_change(user, new_email="ivan@example.org"),
        RecordBounce(user_id=user.user_id, email="ivan@example.org"),
    ):
        events += (await app.bus.handle(command)).events
    [code] = [each.event.code for each in events if isinstance(each.event, CouponAllocated)]
    events += (await app.bus.handle(a_redemption(code))).events
    return [envelope for envelope in events if envelope.type in PUBLIC]


@pytest.mark.anyio
async def test_the_subject_in_an_example_is_what_is_really_sent(app: Application) -> None:
    """Others choose by it what they read; on Kafka, it is the key."""
    sent = [json.loads(to_cloud_event(each)) for each in await events_of_each_type(app)]

    examples = json.loads(published_language(APP))["components"]["messages"]
    assert len(sent) > 5
    for message in sent:
        [example] = examples[message["type"]]["examples"]
        assert about(example["payload"]) == about(message)


def about(message: Any) -> str:
    """Return the subject of a message, and whether it is the user in it, whose id is random."""
    return "the user" if message["subject"] == message["data"]["user_id"] else message["subject"]
