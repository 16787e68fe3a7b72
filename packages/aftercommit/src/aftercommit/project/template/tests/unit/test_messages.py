"""The messages as other services see them."""

import json

from aftercommit.extensions.brokers.asyncapi import published_language

from shop.entrypoints.app import APP


def test_every_message_has_an_example() -> None:
    """A field without one is named, and what to do about it."""
    document = json.loads(published_language(APP))

    assert document["components"]["messages"].keys() == {
        "order_placed",
        "order_cancelled",
        "place_order",
        "cancel_order",
    }
