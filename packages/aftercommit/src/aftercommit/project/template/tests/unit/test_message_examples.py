"""The messages as other services see them."""

import json

from aftercommit.extensions.brokers.asyncapi import published_language

from shop.bootstrap import CODEC
from shop.entrypoints import broker_messages
from shop.entrypoints.app import APP


def test_every_message_has_an_example() -> None:
    """It names a field without an example: give it one in `entrypoints/broker_messages.py`."""
    document = json.loads(published_language(APP))

    public = (*APP.handlers().public_events, *broker_messages.ACCEPTED_FROM_BROKERS)
    theirs = {each.source for each in broker_messages.SUBSCRIPTIONS}
    assert document["components"]["messages"].keys() - theirs == {
        CODEC.name_of(each) for each in public
    }
