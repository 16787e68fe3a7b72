"""The messages as other services see them."""

import json

from aftercommit.extensions.brokers.asyncapi import published_language

from shop.bootstrap import CODEC
from shop.entrypoints.app import APP
from shop.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS, SUBSCRIPTIONS


def test_every_message_has_an_example() -> None:
    """A field without one is named: give it a value in `entrypoints/broker_messages.py`."""
    document = json.loads(published_language(APP))

    public = (*APP.handlers().public_events, *ACCEPTED_FROM_BROKERS)
    ours = document["components"]["messages"].keys() - {each.source for each in SUBSCRIPTIONS}
    assert ours == {CODEC.name_of(each) for each in public}
