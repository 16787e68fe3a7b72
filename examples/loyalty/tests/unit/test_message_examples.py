"""The messages as other services see them."""

import json

from aftercommit.extensions.brokers.asyncapi import published_language

from loyalty.bootstrap import CODEC
from loyalty.entrypoints.app import APP
from loyalty.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS


def test_every_message_has_an_example() -> None:
    """A field without one is named: give it a value in `entrypoints/broker_messages.py`."""
    document = json.loads(published_language(APP))

    public = (*APP.handlers().public_events, *ACCEPTED_FROM_BROKERS)
    assert document["components"]["messages"].keys() == {CODEC.name_of(each) for each in public}
